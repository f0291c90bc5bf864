#!/usr/bin/env python3
"""Makes steps/*.json: whole training steps as PyTorch takes them in 64 bits, for the programs of the same names.

Run it by hand where PyTorch and torchvision are installed, from any folder; the tests read the files alone. A file holds what the
test needs to begin at the same place ("fields" of one sample, "samples" and "classes" of the data, "start": weights, running
statistics, targets and queues), and for each step the batch ("data"), the metrics, and, for the first and the last, all states
behind it. Other states begin at 0. Numbers are row-major.
"""
import copy
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

from generate import Lars, nt_xent, states_of, states_of_block

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


def write(name, fields, samples, classes, first, steps, features):
    """One line for each tensor."""
    def block(values, indent):
        return "{\n" + ",\n".join(f'{indent} "{k}": {json.dumps(v)}' for k, v in values.items()) + f"\n{indent}}}"

    lines = [f' "fields": {json.dumps(fields)}', f' "samples": {samples}', f' "classes": {classes}', f' "start": {block(first, " ")}']
    lines += [f' "features": {json.dumps(features)}'] if features else []
    parts = ["  {" + ",\n   ".join(f'"{k}": {block(v, "   ")}' for k, v in step.items()) + "}" for step in steps]
    (HERE / f"{name}.json").write_text("{\n" + ",\n".join(lines) + ',\n "steps": [\n' + ",\n".join(parts) + "\n ]\n}\n")


def train(name, fields, batch, states, step, n, samples, classes=0, evaluate=None):
    """Takes n steps. step(number, data) gives the metrics and moves the states; it returns those that have no tensor of their own."""
    first, steps = begin(states), []
    for i in range(n):
        data = {k: torch.randint(classes, (batch,)) if k == "label" else given(batch, *shape) for k, shape in fields.items()}
        metrics, others = step(i, data)
        taken = {"data": plain(data), "metrics": plain(metrics)}
        if i in (0, n - 1):
            taken["states"] = plain(states | others)
        steps.append(taken)
    write(name, fields, samples, classes, first, steps, plain({"": evaluate(data)})[""] if evaluate else None)


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


def maml():
    net = nn.Sequential(nn.Linear(1, 7), nn.Tanh(), nn.Linear(7, 5), nn.SiLU(), nn.Linear(5, 1))
    states = states_of(net[0], "f/linear_1") | states_of(net[2], "f/linear_2") | states_of(net[4], "f/linear_3")
    adam = torch.optim.Adam(states.values(), lr=0.01)

    def adapted(xs, ys, xq, yq):
        fast = dict(net.named_parameters())
        for _ in range(2):
            loss = F.mse_loss(torch.func.functional_call(net, fast, xs), ys)
            slopes = torch.autograd.grad(loss, fast.values(), create_graph=True)
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

    train("maml", {"xs": [6, 1], "ys": [6, 1], "xq": [5, 1], "yq": [5, 1]}, 3, states, step, 3, samples=9)


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


for program in [simclr, byol, moco, resnet, gan, maml, convolution]:
    torch.manual_seed(1)
    program()
