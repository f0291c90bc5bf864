#!/usr/bin/env python3
"""Makes steps/*.json: whole training steps as PyTorch takes them in 64 bits, for the programs of the same names.

Run it by hand where PyTorch and torchvision are installed, from any folder, with the names of the programs that are wanted, or none
for all; the tests read the files alone. A file holds what the test needs to begin at the same place ("fields" of one sample,
"samples" and "classes" of the data, "start": weights, running statistics, targets and queues), and for each step the batch ("data"),
the metrics, and, for the first and the last, all states behind it. Other states begin at 0. Numbers are row-major. Where a file has
an "example" the program is that one of examples/, with the settings "options" and its own draws, whose bits are made here too.
"""
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

from generate import Gpt, Lars, Trunk, nt_xent, patchify, sincos_2d, states_of, states_of_block

HERE = pathlib.Path(__file__).parent / "steps"
torch.set_default_dtype(torch.float64)


def given(*shape):
    """Values with few decimals, so that files are short and hold them exactly."""
    return torch.randn(shape).mul(1000).round() / 1000


def begin(states):
    """Random first values; what is a variance or multiplies is around 1, and weights have the scale of their fan in."""
    with torch.no_grad():
        for name, tensor in states.items():
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 9
            tensor.copy_((given(*tensor.shape) / math.sqrt(fan_in)).mul(1000).round() / 1000)
            if name.endswith(("/scale", "/running_var")):
                tensor.abs_().add_(0.5)
    return plain(states)


def plain(states):
    """Lists of numbers, of 13 digits."""
    return {name: [float(f"{x:.13g}") for x in torch.as_tensor(value).detach().flatten().tolist()] for name, value in states.items()}


def write(name, fields, samples, classes, first, steps, features, example, options):
    """One line for each tensor."""
    def block(values, indent):
        return "{\n" + ",\n".join(f'{indent} "{k}": {json.dumps(v)}' for k, v in values.items()) + f"\n{indent}}}"

    lines = [f' "fields": {json.dumps(fields)}', f' "samples": {samples}', f' "classes": {classes}', f' "start": {block(first, " ")}']
    lines += [f' "features": {json.dumps(features)}'] if features else []
    lines += [f' "example": "{example}", "options": {json.dumps({k: str(v) for k, v in options.items()})}'] if example else []
    parts = ["  {" + ",\n   ".join(f'"{k}": {block(v, "   ")}' for k, v in step.items()) + "}" for step in steps]
    (HERE / f"{name}.json").write_text("{\n" + ",\n".join(lines) + ',\n "steps": [\n' + ",\n".join(parts) + "\n ]\n}\n")


def some(kind, batch, shape, classes):
    """A batch of a field; images are seen as reals in 0..1."""
    if kind == "label":
        return torch.randint(classes, (batch,))
    if kind == "t":
        return torch.randint(256, (batch, *shape))
    return torch.randint(1001, (batch, *shape)) / 1000 if kind == "img" and shape[0] != 2 else given(batch, *shape)


def train(name, fields, batch, states, step, n, samples, classes=0, evaluate=None, example=None, options=None):
    """Takes n steps. step(number, data) gives the metrics and moves the states; it returns those that have no tensor of their own."""
    first, steps = begin(states), []
    for i in range(n):
        data = {k: some(k, batch, shape, classes) for k, shape in fields.items()}
        metrics, others = step(i, data)
        taken = {"data": plain(data), "metrics": plain(metrics)}
        if i in (0, n - 1):
            taken["states"] = plain(states | others)
        steps.append(taken)
    write(name, fields, samples, classes, first, steps, plain({"": evaluate(data)})[""] if evaluate else None, example, options)


def gradient_norm(weights):
    return torch.cat([w.grad.flatten() for w in weights]).norm()


def half_cosine(start, end, done):
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def moments(optimizer, names, kept):
    """An optimizer's states by their names in a program: kept = {"adam.m": "exp_avg"}."""
    states = optimizer.state
    return {f"{ours}/{name}": states[w][theirs] for name, w in names.items() for ours, theirs in kept.items()}


def counts(models, t):
    return {f"optimizer.t/{m}": t for m in models}


def weights_of(states):
    return {name: t for name, t in states.items() if isinstance(t, nn.Parameter)}


@torch.no_grad()
def follow(targets, models, decay):
    """Weights of each target move towards those of its model; running statistics are its own."""
    for target, model in zip(targets, models):
        for old, new in zip(target.parameters(), model.parameters()):
            old.lerp_(new, 1 - decay)


# -- draws ------------------------------------------------------------------------------------------------


def philox(counter):
    """Philox4x32-10 (Salmon et al., 2011) under the key 0 of four words."""
    key = [0, 0]
    for _ in range(10):
        (low, high) = (counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57)
        counter = [high >> 32 ^ counter[1] ^ key[0], high & 0xFFFFFFFF, low >> 32 ^ counter[3] ^ key[1], low & 0xFFFFFFFF]
        key = [key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return counter


def uniform(step, site, *shape):
    """What a draw in a program gives under the seed 0: 24 bits of the element's word; the site's hash is FNV-1a."""
    site_hash = 14695981039346656037
    for byte in site.encode():
        site_hash = (site_hash ^ byte) * 1099511628211 % 2 ** 64
    words = [philox([i // 4, site_hash % 2 ** 32, step, site_hash >> 32])[i % 4] for i in range(math.prod(shape))]
    return torch.tensor([w >> 8 for w in words]).reshape(shape) / 2 ** 24


def normal(step, site, *shape):
    """Box and Muller."""
    u, v = uniform(step, site + "/draw_1", *shape), uniform(step, site + "/draw_2", *shape)
    return torch.sqrt(-2 * torch.log(1 - u)) * torch.cos(2 * math.pi * v)


def between(u, low, high):
    return low + (high - low) * u


def random_resized_crop(images, size, scale, step, site):
    """torchvision's boxes from these draws, and its resizing."""
    n, height, width = len(images), images.shape[2], images.shape[3]
    shares, turns = uniform(step, site + "/draw_1", n, 10), uniform(step, site + "/draw_2", n, 10)
    across, down = uniform(step, site + "/draw_4", n), uniform(step, site + "/draw_3", n)
    crops = []
    for i in range(n):
        for share, turn in zip(between(shares[i], *scale), between(turns[i], math.log(3 / 4), math.log(4 / 3))):
            w = math.floor(math.sqrt(height * width * share * math.exp(turn)) + 0.5)
            h = math.floor(math.sqrt(height * width * share / math.exp(turn)) + 0.5)
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            raise ValueError("no box fits")
        top, left = math.floor(down[i] * (height - h + 1)), math.floor(across[i] * (width - w + 1))
        part = images[i:i + 1, :, top:top + h, left:left + w]
        crops.append(F.interpolate(part, (size, size), mode="bilinear", align_corners=False))
    return torch.cat(crops)


def random_hflip(images, step, site):
    return torch.where(uniform(step, site + "/draw_1", len(images))[:, None, None, None] < 0.5, images.flip(3), images)


# -- programs ---------------------------------------------------------------------------------------------


def projector(name, inside, hidden, out, norm=False):
    parts = [nn.Linear(inside, hidden, bias=not norm)] + ([nn.BatchNorm1d(hidden)] if norm else []) + [nn.ReLU(), nn.Linear(hidden, out)]
    states = states_of(parts[0], name + "/linear_1") | states_of(parts[-1], name + "/linear_2")
    return nn.Sequential(*parts), states | (states_of(parts[1], name + "/batch_norm_1") if norm else {})


def simclr():
    convs = [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2), nn.Conv2d(6, 10, 2, padding=1)]
    head = nn.Linear(10, 7)
    f = nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(3, 2, 1), convs[1], nn.ReLU(), convs[2], nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), head)
    g, states = projector("g", 7, 9, 5)
    for i, conv in enumerate(convs):
        states |= states_of(conv, f"f/conv_{i + 1}")
    states |= states_of(head, "f/linear_1")
    rates = [0.005, 0.01, 0.01, half_cosine(0.01, 0, 0.5)]
    adam = torch.optim.Adam(states.values(), betas=(0.85, 0.99), weight_decay=0.02)

    def step(i, data):
        adam.zero_grad()
        adam.param_groups[0]["lr"] = rates[i]
        loss = nt_xent(F.normalize(g(f(data["a"]))), F.normalize(g(f(data["b"]))), 0.3)
        loss.backward()
        norm = gradient_norm(states.values())
        adam.step()
        return {"loss": loss, "grad_norm": norm}, moments(adam, states, {"adam.m": "exp_avg", "adam.v": "exp_avg_sq"}) | counts("fg", i + 1)

    train("simclr", {"a": [3, 9, 7], "b": [3, 9, 7]}, 6, states, step, 4, samples=13)


def byol():
    def encoder(name):
        convs = [nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False)]
        norms = [nn.BatchNorm2d(6), nn.BatchNorm2d(8, momentum=0.3)]
        states = {}
        for i in range(2):
            states |= states_of(convs[i], f"{name}/conv_{i + 1}") | states_of(norms[i], f"{name}/batch_norm_{i + 1}")
        return nn.Sequential(convs[0], norms[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], norms[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                             nn.Flatten()), states

    (f, f_states), (f_target, f_target_states) = encoder("f"), encoder("f_")
    (g, g_states), (g_target, g_target_states) = projector("g", 8, 9, 5, norm=True), projector("g_", 8, 9, 5, norm=True)
    q, q_states = projector("q", 5, 7, 5, norm=True)
    probe = nn.Linear(8, 4)
    trained = weights_of(f_states | g_states | q_states | states_of(probe, "probe"))
    states = f_states | g_states | q_states | states_of(probe, "probe") | f_target_states | g_target_states
    large = {name: w for name, w in trained.items() if w.dim() > 1 and not name.startswith("probe")}
    small = {name: w for name, w in trained.items() if w.dim() < 2 and not name.startswith("probe")}
    rate, steps = 2.0, 6
    lars = Lars(large.values(), rate, momentum=0.8, decay=0.05, eta=0.05)
    rest = torch.optim.SGD([{"params": small.values()}, {"params": probe.parameters()}], rate, momentum=0.8)

    def step(i, data):
        lars.settings = (half_cosine(rate, 0, i / steps),) + lars.settings[1:]
        rest.param_groups[0]["lr"], rest.param_groups[1]["lr"] = half_cosine(rate, 0, i / steps), 0.3
        lars.zero_grad()
        rest.zero_grad()
        ha, hb = f(data["a"]), f(data["b"])
        forward, backward = q(g(ha)), q(g(hb))
        with torch.no_grad():
            toward_b, toward_a = g_target(f_target(data["b"])), g_target(f_target(data["a"]))
        loss = sum((F.normalize(x) - F.normalize(y)).pow(2).sum(1).mean() for x, y in [(forward, toward_b), (backward, toward_a)])
        logits = probe(ha.detach())
        supervised = F.cross_entropy(logits, data["label"])
        (loss + supervised).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), 0.4)
        lars.step()
        rest.step()
        follow([f_target, g_target], [f, g], half_cosine(0.8, 1.0, i / steps))
        kept = moments(lars, large, {"lars.m": "m"}) | moments(rest, {n: w for n, w in trained.items() if n not in large}, {"lars.m": "momentum_buffer"})
        metrics = {"loss": loss + supervised, "grad_norm": norm, "online_top1": (logits.argmax(1) == data["label"]).double().mean()}
        return metrics, kept | counts(["f", "g", "q", "probe"], i + 1)

    train("byol", {"a": [3, 8, 7], "b": [3, 8, 7], "label": []}, 5, states, step, 3, samples=16, classes=4, evaluate=lambda data: f.eval()(data["a"]))


def moco():
    def encoder(name):
        convs = [nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, stride=2, padding=1)]
        states = states_of(convs[0], name + "/conv_1") | states_of(convs[1], name + "/conv_2")
        return nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), states

    (f, f_states), (f_target, f_target_states) = encoder("f"), encoder("f_")
    (g, g_states), (g_target, g_target_states) = projector("g", 6, 8, 4), projector("g_", 6, 8, 4)
    trained, keys = f_states | g_states, torch.zeros(7, 4)
    states = trained | f_target_states | g_target_states | {"keys": keys}
    sgd = torch.optim.SGD(trained.values(), 0.2, momentum=0.9, nesterov=True, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [1, 2], gamma=0.5)

    def step(i, data):
        sgd.zero_grad()
        query = F.normalize(g(f(data["a"])))
        with torch.no_grad():
            key = F.normalize(g_target(f_target(data["b"])))
        own, others = (query * key).sum(1, keepdim=True), query @ keys.clone().T
        loss = F.cross_entropy(torch.cat([own, others], 1) / 0.2, torch.zeros(3, dtype=torch.long))
        loss.backward()
        norm = gradient_norm(trained.values())
        sgd.step()
        schedule.step()
        follow([f_target, g_target], [f, g], 0.7)
        for row in range(3):
            keys[(3 * i + row) % 7] = key[row]
        kept = moments(sgd, trained, {"sgd.m": "momentum_buffer"}) | counts("fg", i + 1) | {"keys.position": 3 * (i + 1) % 7}
        return {"loss": loss, "grad_norm": norm}, kept

    train("moco", {"a": [3, 7, 9], "b": [3, 7, 9]}, 3, states, step, 4, samples=3)


def resnet():
    def down(inside, outside):
        return nn.Sequential(nn.Conv2d(inside, outside, 1, 2, bias=False), nn.BatchNorm2d(outside))

    conv, norm = nn.Conv2d(3, 3, 7, 2, 3, bias=False), nn.BatchNorm2d(3)
    blocks = [BasicBlock(3, 3), BasicBlock(3, 6, 2, down(3, 6)), BasicBlock(6, 6)]
    f = nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    states = states_of(conv, "f/conv_norm_1/conv_1") | states_of(norm, "f/conv_norm_1/batch_norm_1")
    for i, block in enumerate(blocks):
        states |= states_of_block(block, f"f/basic_block_{i + 1}")
    q, q_states = projector("q", 6, 5, 6, norm=True)
    states |= q_states
    trained = weights_of(states)
    adamw = torch.optim.AdamW(trained.values(), 0.01, (0.9, 0.99), 1e-4, weight_decay=0.1)

    def step(i, data):
        adamw.zero_grad()
        za, zb = f(data["a"]), f(data["b"])
        loss = -0.5 * (F.cosine_similarity(q(za), zb.detach()).mean() + F.cosine_similarity(q(zb), za.detach()).mean())
        loss.backward()
        size = gradient_norm(trained.values())
        adamw.step()
        return {"loss": loss, "grad_norm": size}, moments(adamw, trained, {"adamw.m": "exp_avg", "adamw.v": "exp_avg_sq"}) | counts("fq", i + 1)

    train("resnet", {"a": [3, 13, 15], "b": [3, 13, 15]}, 4, states, step, 3, samples=9)


def gan():
    conv = [nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.Conv2d(6, 5, 3, padding=1)]
    critic = nn.Sequential(conv[0], nn.SiLU(), conv[1], nn.Tanh(), nn.Flatten(), nn.Linear(60, 1))
    maker = nn.Sequential(nn.Linear(4, 12), nn.GELU(), nn.Linear(12, 70), nn.Tanh(), nn.Unflatten(1, (2, 5, 7)))
    gain, shade = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(2))
    critic_states = states_of(conv[0], "D/conv_1") | states_of(conv[1], "D/conv_2") | states_of(critic[-1], "D/linear_1")
    first, second = states_of(maker[0], "G/linear_1"), states_of(maker[2], "G/linear_2")
    bare = {"gain": gain, "shade": shade}
    states = critic_states | first | second | bare
    groups = [critic_states, first | bare, second]
    of_critic = torch.optim.Adam([{"params": list(critic_states.values())}], betas=(0.5, 0.9))
    of_maker = torch.optim.Adam([{"params": list(g.values())} for g in groups[1:]], betas=(0.5, 0.9))

    def step(i, data):
        rate = 0.02 - 0.018 * i / 9
        of_critic.param_groups[0]["lr"] = 0.5 * rate
        of_maker.param_groups[0]["lr"], of_maker.param_groups[1]["lr"] = rate, 0.001
        fake = gain * maker(data["z"]) + shade[:, None, None]
        mix = data["mix"][:, :, None, None]
        between = (mix * data["img"] + (1 - mix) * fake.detach()).requires_grad_()
        slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0].flatten(1).norm(dim=1)
        judged = critic(fake.detach()).mean() - critic(data["img"]).mean() + 10 * (slope - 1).pow(2).mean()
        of_critic.zero_grad()
        judged.backward()
        size = gradient_norm(critic_states.values())
        of_critic.step()
        fooled = -critic(fake).mean()
        of_maker.zero_grad()
        fooled.backward()
        size = torch.hypot(size, gradient_norm([w for g in groups[1:] for w in g.values()]))
        for w in second.values():
            w.grad *= 2
        of_maker.step()
        with torch.no_grad():
            gain.clamp_(0.2, 0.31)
        kept = {"adam.m": "exp_avg", "adam.v": "exp_avg_sq"}
        others = moments(of_critic, critic_states, kept) | moments(of_maker, first | second | bare, kept) | counts("DG", i + 1) | {"optimizer.t": i + 1}
        return {"loss": judged + fooled, "grad_norm": size, "slope": slope.mean()}, others

    train("gan", {"img": [2, 5, 7], "z": [4], "mix": [1]}, 3, states, step, 3, samples=10)


def maml(second_order=True):
    net = nn.Sequential(nn.Linear(1, 7), nn.Tanh(), nn.Linear(7, 5), nn.SiLU(), nn.Linear(5, 1))
    states = states_of(net[0], "f/linear_1") | states_of(net[2], "f/linear_2") | states_of(net[4], "f/linear_3")
    adam = torch.optim.Adam(states.values(), lr=0.01)

    def adapted(xs, ys, xq, yq):
        fast = dict(net.named_parameters())
        for _ in range(2):
            loss = F.mse_loss(torch.func.functional_call(net, fast, xs), ys)
            slopes = torch.autograd.grad(loss, fast.values(), create_graph=second_order)
            fast = {name: w - 0.1 * g for (name, w), g in zip(fast.items(), slopes)}
        return F.mse_loss(torch.func.functional_call(net, fast, xq), yq)

    def step(i, data):
        loss = torch.stack([adapted(*(data[k][t] for k in ("xs", "ys", "xq", "yq"))) for t in range(3)]).mean()
        before = torch.stack([F.mse_loss(net(data["xq"][t]), data["yq"][t]) for t in range(2)]).mean().detach()
        adam.zero_grad()
        loss.backward()
        norm = gradient_norm(states.values())
        adam.step()
        return {"loss": loss, "grad_norm": norm, "before": before}, moments(adam, states, {"adam.m": "exp_avg", "adam.v": "exp_avg_sq"}) | counts("f", i + 1)

    train("maml" if second_order else "first_order", {"xs": [6, 1], "ys": [6, 1], "xq": [5, 1], "yq": [5, 1]}, 3, states, step, 3, samples=9)


def first_order():
    maml(False)


def adamw_of(trained, **settings):
    """AdamW without decay for norms and biases."""
    large, small = [w for w in trained.values() if w.dim() > 1], [w for w in trained.values() if w.dim() < 2]
    return torch.optim.AdamW([{"params": large}, {"params": small, "weight_decay": 0.0}], **settings)


def mae():
    """examples/mae.ssl with its draws: crops, mirrors, and which patches are hidden."""
    options = {"batch": 3, "epochs": 2, "patch": 7, "dim": 8, "depth": 1, "decoder": 4, "heads": 2}
    embed, enc, to_decoder, dec, to_pixels = nn.Linear(49, 8), Trunk(1, 8, 2), nn.Linear(8, 4), Trunk(1, 4, 2), nn.Linear(4, 49)
    hidden = nn.Parameter(torch.zeros(1, 1, 4))
    states = states_of(embed, "embed") | enc.states("enc") | states_of(to_decoder, "to_decoder") | dec.states("dec")
    states |= states_of(to_pixels, "to_pixels") | {"hidden": hidden}
    models = ["embed", "enc", "to_decoder", "dec", "to_pixels"]
    adamw = adamw_of(states, betas=(0.9, 0.95), weight_decay=0.05)
    positions, decoder_positions = sincos_2d(4, 4, 8), sincos_2d(4, 4, 4)

    def plain_images(images):
        return (images - 0.5) / 0.5

    def step(i, data):
        n = len(data["img"])
        for group in adamw.param_groups:  # two steps an epoch: all are in the linear start
            group["lr"] = 1e-3 * (i + 1) / 10
        images = random_resized_crop(data["img"], 28, (0.5, 1.0), i, "mae/crop_1/random_resized_crop_1")
        p = patchify(plain_images(random_hflip(images, i, "mae/crop_1/random_hflip_1")), 7)
        order = uniform(i, "mae/random_split_1/draw_1", n, 16).argsort(1)
        seen, unseen = order[:, :4], order[:, 4:]
        rows = torch.arange(n)[:, None]
        z = to_decoder(enc((embed(p) + positions)[rows, seen]))
        y = hidden.expand(n, 16, 4).clone()
        y[rows, seen] = z
        drawn = to_pixels(dec(y + decoder_positions))
        wanted = p[rows, unseen]
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
        loss = F.mse_loss(drawn[rows, unseen], wanted)
        adamw.zero_grad()
        loss.backward()
        norm = gradient_norm(states.values())
        adamw.step()
        kept = {"adamw.m": "exp_avg", "adamw.v": "exp_avg_sq"}
        return {"loss": loss, "grad_norm": norm}, moments(adamw, states, kept) | counts(models, i + 1) | {"optimizer.t": i + 1}

    def features(data):
        return enc(embed(patchify(plain_images(data["img"]), 7)) + positions).mean(1)

    train("mae", {"img": [1, 28, 28], "label": []}, 3, states, step, 3, samples=7, classes=10, evaluate=features, example="mae", options=options)


def gpt():
    """examples/gpt.ssl on bytes."""
    options = {"batch": 3, "epochs": 2, "window": 7, "layers": 2, "heads": 2, "dim": 4}
    lm = Gpt(2, 2, 4, 256, 7)
    states = lm.states("lm")
    adamw = adamw_of(states, betas=(0.9, 0.99), weight_decay=0.1)

    def step(i, data):
        warm = 0.1 * 2  # steps
        for group in adamw.param_groups:
            group["lr"] = 1e-3 * min(1, (i + 1) / warm) if i < warm else half_cosine(1e-3, 0, (i - warm) / (4 - warm))
        logits, after = lm(data["t"][:, :-1]), data["t"][:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), after.flatten())
        adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(states.values(), 1.0)
        adamw.step()
        kept = moments(adamw, states, {"adamw.m": "exp_avg", "adamw.v": "exp_avg_sq"})
        reports = {"bits_per_byte": loss / math.log(2), "top1": (logits.argmax(-1) == after).double().mean()}
        return {"loss": loss, "grad_norm": norm} | reports, kept | counts(["lm"], i + 1)

    train("gpt", {"t": [8]}, 3, states, step, 2, samples=7, example="gpt", options=options)


def dcgan():
    """examples/gan.ssl with its draws of noise."""
    options = {"batch": 3, "epochs": 2, "noise": 5, "width": 2}
    spread, grow, draw = nn.Linear(5, 4 * 49), nn.ConvTranspose2d(4, 2, 4, 2, 1, bias=False), nn.ConvTranspose2d(2, 1, 4, 2, 1)
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(2), nn.BatchNorm2d(4)]
    maker = nn.Sequential(spread, nn.Unflatten(1, (4, 7, 7)), norms[0], nn.ReLU(), grow, norms[1], nn.ReLU(), draw, nn.Tanh())
    look, look_again, judge = nn.Conv2d(1, 2, 4, 2, 1), nn.Conv2d(2, 4, 4, 2, 1, bias=False), nn.Linear(4 * 49, 1)
    critic = nn.Sequential(look, nn.LeakyReLU(0.2), look_again, norms[2], nn.LeakyReLU(0.2), nn.Flatten())
    of_maker = states_of(spread, "G/linear_1") | states_of(norms[0], "G/batch_norm_1") | states_of(grow, "G/conv_transpose_1")
    of_maker |= states_of(norms[1], "G/batch_norm_2") | states_of(draw, "G/conv_transpose_2")
    of_critic = states_of(look, "D/conv_1") | states_of(look_again, "D/conv_2") | states_of(norms[2], "D/batch_norm_1") | states_of(judge, "judge")
    first, second = weights_of(of_critic), weights_of(of_maker)
    adams = [torch.optim.Adam(weights.values(), 2e-4, (0.5, 0.999)) for weights in (first, second)]

    def descend(adam, weights, loss):
        adam.zero_grad()
        loss.backward()
        norm = gradient_norm(weights.values())
        adam.step()
        return norm

    def step(i, data):
        fake = maker(normal(i, "gan", len(data["img"]), 5))
        of_real, of_fake = judge(critic((data["img"] - 0.5) / 0.5)), judge(critic(fake.detach()))
        bce = F.binary_cross_entropy_with_logits
        judged = bce(of_real, torch.ones_like(of_real)) + bce(of_fake, torch.zeros_like(of_fake))
        metrics = {"real_found": (of_real > 0).double().mean(), "fake_found": (of_fake < 0).double().mean()}
        size = descend(adams[0], first, judged)
        of_fake = judge(critic(fake))
        fooled = bce(of_fake, torch.ones_like(of_fake))
        size = torch.hypot(size, descend(adams[1], second, fooled))
        kept = {"adam.m": "exp_avg", "adam.v": "exp_avg_sq"}
        others = moments(adams[0], first, kept) | moments(adams[1], second, kept) | counts(["D", "G", "judge"], i + 1)
        return metrics | {"loss": judged + fooled, "grad_norm": size}, others

    def features(data):
        return critic.eval()((data["img"] - 0.5) / 0.5)

    train("dcgan", {"img": [1, 28, 28], "label": []}, 3, of_critic | of_maker, step, 2, samples=7, classes=10, evaluate=features, example="gan", options=options)


def convolution():
    convs = {
        "plain": nn.Conv2d(4, 5, 3, padding=1), "halved": nn.Conv2d(4, 4, 3, stride=2, padding=1), "skipped": nn.Conv2d(4, 3, 2, stride=3),
        "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), "apart": nn.Conv2d(4, 8, 5, padding=3, groups=4),
        "point": nn.Conv2d(4, 7, 1, stride=2), "line": nn.Conv1d(3, 6, 4, stride=2, padding=1, groups=3, bias=False),
    }
    states = {}
    for name, conv in convs.items():
        states |= states_of(conv, name)

    def step(i, data):
        inputs = {k: v.requires_grad_() for k, v in data.items()}
        found = {name: 0.01 * conv(inputs["strip" if name == "line" else "image"]).pow(2).sum() for name, conv in convs.items()}
        loss = sum(found.values())
        for w in states.values():
            w.grad = None
        loss.backward()
        norm = gradient_norm(states.values())
        with torch.no_grad():
            for w in states.values():
                w -= w.grad
        return {"loss": loss, "grad_norm": norm} | found, {"d_image": inputs["image"].grad, "d_strip": inputs["strip"].grad} | counts(convs, i + 1)

    train("convolution", {"image": [4, 9, 7], "strip": [3, 11]}, 2, states, step, 1, samples=2)


programs = [simclr, byol, moco, mae, gan, dcgan, maml, first_order, gpt, resnet, convolution]
for program in programs:
    if program.__name__ in (sys.argv[1:] or [p.__name__ for p in programs]):
        torch.manual_seed(1)
        program()
