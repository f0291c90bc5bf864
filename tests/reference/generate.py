#!/usr/bin/env python3
"""Makes the .json files beside it: what PyTorch and torchvision give for the programs of the same names.

Run it by hand where both are installed, from any folder; the tests read the files alone. Inputs are sines of their index and
results are summed with cosines, both as in the programs. A file is a list of cases (values of `option case`). In each, "metrics"
has a list for each name, one value for each of the first steps; "states" has the digest of weights and running statistics behind
the last of "steps" steps; values may be off by the share "tolerance", or by 1e-9. Distributions are compared by their moments.
"""
import colorsys
import json
import math
import pathlib

import torch
import torch.nn.functional as F
import torch.optim.lr_scheduler as lr
import torchvision.transforms.v2.functional as T
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.transforms import RandomErasing, RandomResizedCrop

torch.set_default_dtype(torch.float64)
HERE = pathlib.Path(__file__).parent


def wave(shape, k=0.0):
    return torch.sin(0.7 * torch.arange(math.prod(shape)) + k).reshape(shape)


def digest(x):
    return (x.reshape(-1) * torch.cos(0.3 * torch.arange(x.numel()))).sum()


def check(f, x):
    x = x.clone().requires_grad_()
    y = digest(f(x))
    return (y + digest(torch.autograd.grad(y, x)[0])).item()


def nt_xent(a, b, temperature):
    z = torch.cat([a, b])
    n = len(a)
    scores = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -math.inf)
    return F.cross_entropy(scores, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def info_nce(q, positive, negatives, temperature):
    scores = torch.cat([(q * positive).sum(1, keepdim=True), q @ negatives.T], 1) / temperature
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))


def barlow_twins(a, b):
    c = F.batch_norm(a, None, None, training=True).T @ F.batch_norm(b, None, None, training=True) / len(a)
    on = (torch.diagonal(c) - 1).pow(2).sum()
    return on + 0.0051 * (c.pow(2).sum() - torch.diagonal(c).pow(2).sum())


def vicreg(a, b):
    def spread(z):
        return F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean()

    def redundancy(z):
        c = torch.cov(z.T)
        return (c.pow(2).sum() - torch.diagonal(c).pow(2).sum()) / z.shape[1]

    return 25 * F.mse_loss(a, b) + 25 * (spread(a) + spread(b)) + redundancy(a) + redundancy(b)


def patchify(x, size):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, size * size * c)


def sinkhorn(scores, eps):
    """As in the code of SwAV: of the transpose, all sums 1 / K and 1 / N."""
    q = torch.exp(scores / eps).T
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(1, keepdim=True) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def kl_normal(mean, log_variance):
    normal = torch.distributions.Normal
    return torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(1).mean()


def embedding_std(z):
    return F.normalize(z, dim=1).std(0, correction=0).mean() * math.sqrt(z.shape[1])


def effective_rank(z):
    """By the eigenvalues themselves."""
    spectrum = torch.linalg.eigvalsh(torch.cov(F.normalize(z, dim=1).T, correction=0))
    return spectrum.sum() ** 2 / spectrum.pow(2).sum()


def functions():
    x, y, far = wave([3, 5]), wave([3, 5], 1.0), 400.0 * wave([3, 5])
    zero, square, image = torch.zeros(4), wave([4, 4]), wave([2, 3, 6, 8])
    unit = lambda v, axis=-1: F.normalize(v, dim=axis)
    label, tokens, token_label = torch.arange(3) + 1, wave([2, 3, 5]), (torch.arange(6) % 5).reshape(2, 3)
    other = wave([7, 5], 2.0)
    entropy = lambda v: torch.distributions.Categorical(logits=v).entropy().mean()
    off = lambda c: c.pow(2).sum() - torch.diagonal(c).pow(2).sum()
    found = {
        "relu": check(F.relu, x), "leaky_relu": check(F.leaky_relu, x), "elu": check(F.elu, x), "sigmoid": check(torch.sigmoid, x),
        "silu": check(F.silu, x), "softplus": check(lambda v: F.softplus(v, threshold=1e9), x), "gelu": check(F.gelu, x),
        "gelu_tanh": check(lambda v: F.gelu(v, approximate="tanh"), x),
        "softplus_far": check(F.softplus, far), "sigmoid_far": check(torch.sigmoid, far), "silu_far": check(F.silu, far),
        "elu_far": check(F.elu, far), "relu_zero": check(F.relu, zero), "softplus_zero": check(F.softplus, zero),
        "safe_sqrt": check(lambda v: torch.where(v > 0, torch.where(v > 0, v, 1.0).sqrt(), 0.0), F.relu(x)),
        "clamp": check(lambda v: v.clamp(-0.5, 0.5), x), "norm_zero": check(torch.linalg.vector_norm, zero),
        "norm": check(torch.linalg.vector_norm, x), "norm_axis": check(lambda v: torch.linalg.vector_norm(v, dim=0), x),
        "variance": check(lambda v: v.var(0), x), "variance_all": check(lambda v: v.var(correction=0), x),
        "std": check(lambda v: v.std(-1), x), "l2_normalize": check(unit, x), "l2_normalize_zero": check(unit, torch.zeros(2, 3)),
        "l2_normalize_axis": check(lambda v: unit(v, 0), x), "softmax": check(lambda v: v.softmax(-1), x),
        "softmax_axis": check(lambda v: v.softmax(0), x), "softmax_far": check(lambda v: v.softmax(-1), far),
        "log_softmax": check(lambda v: v.log_softmax(-1), x), "log_softmax_far": check(lambda v: v.log_softmax(-1), far),
        "logsumexp": check(lambda v: v.logsumexp(-1), x), "logsumexp_axis": check(lambda v: v.logsumexp(0, keepdim=True), far),
        "entropy": check(entropy, x), "eye": digest(torch.eye(4)).item(), "diagonal": check(torch.diagonal, square),
        "off_diagonal": check(off, square), "sq_distances": check(lambda v: (v[:, None] - wave([4, 5], 2.0)).pow(2).sum(-1), x),
        "cosine": check(lambda v: F.cosine_similarity(v, y), x), "embedding_std": check(embedding_std, x),
        "embedding_std_tokens": check(lambda v: embedding_std(v.mean(1)), wave([4, 3, 5])),
        "embedding_std_maps": check(lambda v: embedding_std(v.mean((2, 3))), image), "effective_rank": check(effective_rank, x),
        "effective_rank_tall": check(effective_rank, wave([7, 4])), "effective_rank_one": 0.0, "flatten": digest(image.flatten(1)).item(),
        "flatten_two": digest(image.flatten(2)).item(), "patchify": check(lambda v: patchify(v, 2), image),
        "unpatchify": digest(wave([2, 3, 6, 6])).item(), "max_pool": check(lambda v: F.max_pool2d(v, 2), image),
        "max_pool_wide": check(lambda v: F.max_pool2d(v, 3, 2, 1), image),
        "max_pool_odd": check(lambda v: F.max_pool2d(v, 2), wave([2, 3, 5, 7])),
        "max_pool_ties": check(lambda v: F.max_pool2d(v, 2), image.floor()), "avg_pool": check(lambda v: F.avg_pool2d(v, 2), image),
        "avg_pool_wide": check(lambda v: F.avg_pool2d(v, 3, 2, 1), image),
        "max_pool_line": check(lambda v: F.max_pool1d(v, 3), wave([2, 3, 10])),
        "avg_pool_line": check(lambda v: F.avg_pool1d(v, 2), wave([2, 3, 10])),
        "global_avg_pool": check(lambda v: v.mean((2, 3)), image), "global_max_pool": check(lambda v: v.flatten(2).max(2)[0], image),
        "nt_xent": check(lambda v: nt_xent(unit(v), unit(y), 0.2), x),
        "info_nce": check(lambda v: info_nce(unit(v), unit(y), unit(other), 0.2), x),
        "info_nce_negatives": check(lambda v: info_nce(unit(x), unit(y), v, 0.2), other),
        "mse": check(lambda v: F.mse_loss(v, y), x), "cross_entropy": check(lambda v: F.cross_entropy(v, label), x),
        "cross_entropy_far": check(lambda v: F.cross_entropy(v, label), far),
        "cross_entropy_tokens": check(lambda v: F.cross_entropy(v.transpose(1, 2), token_label), tokens),
        "soft_cross_entropy": check(lambda v: F.cross_entropy(v, y.softmax(-1)), x),
        "bce": check(lambda v: F.binary_cross_entropy_with_logits(v, y.sigmoid()), x),
        "bce_number": check(lambda v: F.binary_cross_entropy_with_logits(v, torch.ones_like(v)), far),
        "cosine_loss": check(lambda v: -F.cosine_similarity(v, y).mean(), x),
        "regression": check(lambda v: (unit(v) - unit(y)).pow(2).sum(-1).mean(), x),
        "barlow_twins": check(lambda v: barlow_twins(v, wave([6, 4], 1.0)), wave([6, 4])),
        "vicreg": check(lambda v: vicreg(v, wave([6, 4], 1.0)), wave([6, 4])),
        "sinkhorn": digest(sinkhorn(x, 0.3)).item(), "smooth_l1": check(lambda v: F.smooth_l1_loss(v, y, beta=0.5), x),
        "kl_mean": check(lambda v: kl_normal(v, y), x), "kl_variance": check(lambda v: kl_normal(x, v), y),
        "masked_mean": check(lambda v: v[y > 0.3].mean(), x),
        "accuracy": (x.argmax(-1) == label).double().mean().item(),
    }
    return [{"steps": 1, "metrics": {name: [value] for name, value in found.items()}, "states": {}}]


# -- augmentations ----------------------------------------------------------------------------------------


def grey(x):
    """torchvision's has 0.2989 for red, ours the 0.299 of the standard; so contrast and saturation are written out."""
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]


def turned(x, turn):
    """torchvision computes this in 32 bits."""
    pixels = []
    for r, g, b in x.reshape(3, -1).T.tolist():
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        pixels.append(colorsys.hsv_to_rgb((h + turn) % 1.0, s, v))
    return torch.tensor(pixels).T.reshape(x.shape)


OPERATIONS = [
    lambda x, f: (x * f).clamp(0, 1),
    lambda x, f: (x * f + (1 - f) * grey(x).mean()).clamp(0, 1),
    lambda x, f: (x * f + (1 - f) * grey(x)).clamp(0, 1),
    turned,
]


def colours(x, factors, moments):
    for i in sorted(range(4), key=lambda i: moments[i]):
        x = OPERATIONS[i](x, factors[i])
    return digest(x).item()


def augmentations():
    x, square = 0.5 + 0.5 * wave([3, 7, 9]), 0.5 + 0.5 * wave([3, 6, 6])
    order, factors = [0.1, 0.2, 0.3, 0.4], [1.6, 0.5, 1.7, 0.15]
    total = 0.0
    for a in range(4):
        for b in range(4):
            for c in range(4):
                for d in range(4):
                    if len({a, b, c, d}) == 4:
                        total += (1 + a + 4 * b + 16 * c + 64 * d) * colours(x, factors, [a, b, c, d])

    def resized(height, width, top, left, tall, wide, mode="bilinear"):
        part = x[:, top:top + tall, left:left + wide]
        y = F.interpolate(part[None], (height, width), mode=mode, align_corners=False, antialias=True)[0]
        return digest(y if mode == "bilinear" else y.clamp(0, 1)).item()

    found = {
        "bright": colours(x, [1.6, 1, 1, 0], order), "contrast": colours(x, [1, 1.7, 1, 0], order),
        "saturated": colours(x, [1, 1, 0.3, 0], order), "turned": colours(x, [1, 1, 1, 0.3], order),
        "turned_back": colours(x, [1, 1, 1, -0.45], order), "turned_grey": colours(x[:1].expand(3, 7, 9), [1, 1, 1, 0.3], order),
        "all_orders": total, "bilinear": resized(11, 13, 1, 2, 4, 5), "bilinear_whole": resized(11, 13, 0, 0, 7, 9),
        "bicubic": resized(11, 13, 1, 2, 4, 5, "bicubic"), "bicubic_whole": resized(7, 9, 0, 0, 7, 9, "bicubic"),
        "bilinear_pixel": resized(5, 5, 6, 8, 1, 1), "bilinear_strip": resized(8, 10, 2, 0, 1, 9),
        "turn0": digest(square).item(), "turn1": digest(torch.rot90(square, 1, (1, 2))).item(),
        "turn2": digest(torch.rot90(square, 2, (1, 2))).item(), "turn3": digest(torch.rot90(square, 3, (1, 2))).item(),
        "blur3": digest(T.gaussian_blur(x, [3, 3], [0.8, 0.8])).item(), "blur5": digest(T.gaussian_blur(x, [5, 5], [1.7, 1.7])).item(),
        "pad_image": digest(F.pad(x, (2, 2, 2, 2))).item(),
        "per_channel": digest(T.normalize(x, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])).item(),
    }
    return [{"steps": 1, "metrics": {name: [value] for name, value in found.items()}, "states": {}}]


# -- layers -----------------------------------------------------------------------------------------------


def start(tensor, name):
    """Sets what the test sets: a sine with a phase from the name; around 1 for what multiplies or is a variance."""
    with torch.no_grad():
        tensor.copy_(0.5 * wave(tensor.shape, 0.01 * sum(name.encode())) + (name.endswith(("/scale", "/running_var"))))


def states_of(module, path):
    """The states of a module without parts, by the names that they have in a program."""
    names = {"weight": "w", "bias": "b"}
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
        names = {"weight": "scale", "bias": "shift", "running_mean": "running_mean", "running_var": "running_var"}
    found = {path + "/" + ours: getattr(module, theirs, None) for theirs, ours in names.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def states_of_block(block, path):
    found = {}
    parts = [(block.conv1, block.bn1), (block.conv2, block.bn2)] + ([(block.conv3, block.bn3)] if hasattr(block, "conv3") else [])
    parts = [(f"{path}/conv_norm_{i + 1}", pair) for i, pair in enumerate(parts)]
    if block.downsample is not None:
        parts.append((path + "/shortcut_1/conv_norm_1", block.downsample))
    for at, (conv, norm) in parts:
        found |= states_of(conv, at + "/conv_1") | states_of(norm, at + "/batch_norm_1")
    return found


def down(inside, outside, stride):
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


def trained(runs, states):
    """Three steps on the sum of all digests, from the first values of the test."""
    for name, tensor in states.items():
        start(tensor, name)
    metrics = {name: [] for name in runs}
    for _ in range(3):
        total = 0
        for name, run in runs.items():
            y = digest(run())
            metrics[name].append(y.item())
            total = total + (1e-6 * y if name == "small" else y)
        weights = [t for t in states.values() if t.requires_grad]
        gradients = torch.autograd.grad(total, weights)
        with torch.no_grad():
            for w, g in zip(weights, gradients):
                w -= 0.01 * g
    return {"steps": 3, "metrics": metrics, "states": {name: digest(t).item() for name, t in states.items()}}


def layers():
    image, rows = wave([2, 4, 8, 6], 1.0), wave([5, 6])
    simple = {
        "line": (nn.Linear(6, 4), wave([2, 3, 6])), "bare": (nn.Linear(6, 3, bias=False), rows),
        "convolved": (nn.Conv2d(4, 4, 3, 2, 1), image), "grouped": (nn.Conv2d(4, 6, 3, groups=2), image),
        "strip": (nn.Conv1d(4, 5, 3, padding=1, bias=False), wave([2, 4, 9])), "normed": (nn.BatchNorm2d(4), image),
        "normed_rows": (nn.BatchNorm1d(6, momentum=0.3, affine=False), rows), "layered": (nn.LayerNorm(6), rows),
        "table": (nn.Embedding(7, 3), torch.arange(5) + 1),
    }
    states = {}
    for name, (module, _) in simple.items():
        states |= states_of(module, name)
    hidden = [nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 3)]
    projector = nn.Sequential(hidden[0], hidden[1], nn.ReLU(), hidden[2], hidden[3], nn.ReLU(), hidden[4])
    plain_mlp = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    basic = nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4, 2, down(4, 4, 2)))
    narrow = nn.Sequential(Bottleneck(4, 3, 1, down(4, 12, 1)), Bottleneck(12, 3, 2, down(12, 12, 2)))
    convs = [nn.Conv2d(4, 64, 3, padding=1), nn.Conv2d(64, 128, 3, padding=1), nn.Conv2d(128, 256, 3, padding=1)]
    small = nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU(), nn.MaxPool2d(2), convs[2], nn.ReLU(),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 5))
    for i, part in enumerate(hidden):
        states |= states_of(part, f"projector/{'batch_norm' if i % 2 else 'linear'}_{i // 2 + 1}")
    states |= states_of(plain_mlp[0], "plain_mlp/linear_1") | states_of(plain_mlp[2], "plain_mlp/linear_2")
    for i in range(2):
        states |= states_of_block(basic[i], f"basic/basic_block_{i + 1}") | states_of_block(narrow[i], f"narrow/bottleneck_{i + 1}")
    for i, conv in enumerate(convs):
        states |= states_of(conv, f"small/conv_{i + 1}")
    states |= states_of(small[-1], "small/linear_1")
    inputs = simple | {"projector": (projector, rows), "plain_mlp": (plain_mlp, rows), "basic": (basic, image),
                       "narrow": (narrow, image), "small": (small, image)}
    return [trained({name: (lambda m=module, x=x: m(x)) for name, (module, x) in inputs.items()}, states)]


# -- recurrent cells --------------------------------------------------------------------------------------


def states_of_cell(module, path, suffix=""):
    names = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    return {f"{path}/gates_1/{ours}": getattr(module, theirs + suffix) for ours, theirs in names.items()}


def recurrent():
    plain_gru, back_gru, plain_lstm = (nn.GRU(3, 5, batch_first=True), nn.GRU(3, 3, batch_first=True), nn.LSTM(6, 5, batch_first=True))
    deep_gru, both_lstm = [nn.GRU(3, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)], nn.LSTM(3, 2, batch_first=True, bidirectional=True)
    x, short = wave([2, 7, 3]), wave([1, 1, 6], 1.0)
    states = states_of_cell(plain_gru, "plain_gru") | states_of_cell(back_gru, "back_gru") | states_of_cell(plain_lstm, "plain_lstm")
    for i, cell in enumerate(deep_gru):
        states |= states_of_cell(cell, f"deep_gru/gru_{i + 1}")
    states |= states_of_cell(both_lstm, "both_lstm/lstm_1") | states_of_cell(both_lstm, "both_lstm/lstm_2", "_reverse")
    runs = {"plain_gru": lambda: plain_gru(x)[0], "back_gru": lambda: back_gru(x.flip(1))[0].flip(1),
            "deep_gru": lambda: deep_gru[1](deep_gru[0](x)[0])[0], "plain_lstm": lambda: plain_lstm(short)[0],
            "both_lstm": lambda: both_lstm(x)[0]}
    return [trained(runs, states)]


# -- transformers -----------------------------------------------------------------------------------------


class Block(nn.Module):
    """One of the blocks with norms in front, of PyTorch's own layers."""

    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.wide, self.narrow, self.causal = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), causal

    def forward(self, x):
        x = x + attend(self.attention, self.norm1(x), self.causal)
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))

    def states(self, path):
        return (states_of(self.norm1, path + "/layer_norm_1") | states_of_attention(self.attention, path + "/attention_1")
                | states_of(self.norm2, path + "/layer_norm_2") | states_of(self.wide, path + "/mlp_1/linear_1")
                | states_of(self.narrow, path + "/mlp_1/linear_2"))


def attend(attention, x, causal=False):
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if causal else None
    return attention(x, x, x, need_weights=False, attn_mask=mask)[0]


def states_of_attention(attention, path):
    return {path + "/linear_1/w": attention.in_proj_weight, path + "/linear_1/b": attention.in_proj_bias} | states_of(
        attention.out_proj, path + "/linear_2")


class Trunk(nn.Module):
    def __init__(self, depth, width, heads, causal=False):
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(Block(width, heads, causal) for _ in range(depth)), nn.LayerNorm(width)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def states(self, path):
        found = {}
        for i, block in enumerate(self.blocks):
            found |= block.states(f"{path}/block_{i + 1}")
        return found | states_of(self.norm, path + "/layer_norm_1")


class Vit(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.embed, self.trunk, self.own = nn.Conv2d(4, 8, 4, 4), Trunk(1, 8, 2), pool == "cls"
        self.position, self.token = nn.Parameter(torch.zeros(1, 6 + self.own, 8)), nn.Parameter(torch.zeros(1, 1, 8))

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.own:
            tokens = torch.cat([self.token.expand(len(x), 1, 8), tokens], 1)
        y = self.trunk(tokens + self.position)
        return y[:, 0] if self.own else y.mean(1)

    def states(self, path):
        own = {path + "/own": self.token} if self.own else {}
        return states_of(self.embed, path + "/conv_1") | own | {path + "/position": self.position} | self.trunk.states(path + "/trunk_1")


class Gpt(nn.Module):
    def __init__(self, layers=2, heads=2, dim=8, vocab=5, window=9):
        super().__init__()
        self.table, self.trunk, self.head = nn.Embedding(vocab, dim), Trunk(layers, dim, heads, True), nn.Linear(dim, vocab, bias=False)
        self.position = nn.Parameter(torch.zeros(1, window, dim))

    def forward(self, t):
        return self.head(self.trunk(self.table(t) + self.position[:, :t.shape[1]]))

    def states(self, path):
        return ({path + "/position": self.position} | states_of(self.table, path + "/embedding_1") | self.trunk.states(path + "/trunk_1")
                | states_of(self.head, path + "/linear_1"))


def sincos_2d(height, width, dim):
    def turns(at):
        angle = at[:, None] / 10000 ** (torch.arange(dim // 4) / (dim / 4))
        return torch.cat([angle.sin(), angle.cos()], 1)

    column, row = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    return torch.cat([turns(column.flatten()), turns(row.flatten())], 1)


def transformers():
    image, tokens, symbols = wave([2, 4, 8, 12], 1.0), wave([2, 5, 6]), (torch.arange(14) * 3 % 5).reshape(2, 7)
    attentions = {"attending": nn.MultiheadAttention(6, 2, batch_first=True), "causal": nn.MultiheadAttention(6, 3, batch_first=True)}
    simple = {
        "transposed": nn.ConvTranspose2d(4, 3, 4, 2, 1), "uneven": nn.ConvTranspose2d(4, 3, 3, 2, 1, 1, bias=False),
        "spaced": nn.ConvTranspose2d(4, 2, 2, 3), "grouped": nn.GroupNorm(2, 4),
    }
    built = {"blocks": (Trunk(2, 6, 2), tokens), "picture": (Vit("cls"), image), "averaged": (Vit("mean"), image), "text": (Gpt(), symbols)}
    states = {}
    for name, module in simple.items():
        states |= states_of(module, name)
    for name, module in attentions.items():
        states |= states_of_attention(module, name)
    for name, (module, _) in built.items():
        states |= module.states(name)
    runs = {name: (lambda m=module: m(image)) for name, module in simple.items()}
    runs |= {name: (lambda m=module, c=name == "causal": attend(m, tokens, c)) for name, module in attentions.items()}
    runs |= {name: (lambda m=module, x=x: m(x)) for name, (module, x) in built.items()}
    case = trained(runs, states)
    patch = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True) + 1e-6).sqrt()
    case["metrics"] |= {
        "upsampled": [digest(F.interpolate(image, scale_factor=2)).item()], "positions": [digest(sincos_2d(2, 3, 8)).item()],
        "normalized": [digest(patch).item()], "restored": [0.0], "kept": [24.0],
    }
    return [case]


# -- optimizers and schedules -----------------------------------------------------------------------------


class Lars(torch.optim.Optimizer):
    """You et al., 2017, with the clip of LARC."""

    def __init__(self, weights, lr, momentum=0.9, decay=0.0, eta=0.001, clip=False, nesterov=False):
        super().__init__(weights, {"lr": lr})
        self.settings = lr, momentum, decay, eta, clip, nesterov

    @torch.no_grad()
    def step(self):
        lr, momentum, decay, eta, clip, nesterov = self.settings
        for w in self.param_groups[0]["params"]:
            scale = eta * w.norm() / (w.grad.norm() + decay * w.norm() + 1e-8)
            g = (w.grad + decay * w) * (min(scale / lr, 1) if clip else scale)
            m = self.state[w]["m"] = momentum * self.state[w].get("m", 0) + g
            w -= lr * (g + momentum * m if nesterov else m)


def optimizers():
    cases = []
    for make in [
        lambda w: torch.optim.SGD(w, 0.1), lambda w: torch.optim.SGD(w, 0.1, 0.9, weight_decay=0.01),
        lambda w: torch.optim.SGD(w, 0.1, 0.9, weight_decay=0.01, nesterov=True), lambda w: torch.optim.Adam(w, 0.01),
        lambda w: torch.optim.Adam(w, 0.01, (0.8, 0.9), 1e-4, 0.1), lambda w: torch.optim.AdamW(w, 0.01, weight_decay=0.1),
        lambda w: Lars(w, 0.1, decay=0.01, eta=0.02), lambda w: Lars(w, 0.1, 0.8, eta=0.5, clip=True, nesterov=True),
        lambda w: torch.optim.SGD(w, 0.1, 0.9, weight_decay=0.01),
    ]:
        m = nn.Linear(6, 4)
        states = states_of(m, "m")
        for name, tensor in states.items():
            start(tensor, name)
        optimizer, losses = make(m.parameters()), []
        for _ in range(3):
            optimizer.zero_grad()
            loss = m(wave([3, 6])).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        cases.append({"steps": 3, "metrics": {"loss": losses}, "states": {name: digest(t).item() for name, t in states.items()}})
    return cases


def schedules():
    steps, epoch = 12, 3

    def run(scheduler, base=0.3):
        optimizer = torch.optim.SGD([torch.zeros(1)], base)
        schedule, values = scheduler(optimizer), []
        for _ in range(steps):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return values

    def warm(base, start, warmup, to):
        """PyTorch's warm-ups begin with the start itself; here the first step is one of the climb."""
        n = warmup * epoch
        return [start + (base - start) * min(1, (s + 1) / n) if s < n else to + (base - to) * 0.5 * (1 + math.cos(math.pi * (s - n) / (steps - n)))
                for s in range(steps)]

    found = {
        "cosine": run(lambda o: lr.CosineAnnealingLR(o, steps)), "cosine_up": run(lambda o: lr.CosineAnnealingLR(o, steps, 1.0), 0.99),
        "cosine_warm": warm(0.3, 0, 1, 0), "warmup_cosine": warm(0.3, 0.01, 1.5, 0.02),
        "linear": run(lambda o: lr.LinearLR(o, 1.0, 1 / 3, steps)),
        "ramp": run(lambda o: lr.LinearLR(o, 1.0, 4 / 7, 2 * epoch), 0.07),
        "steps_down": run(lambda o: lr.MultiStepLR(o, [epoch, 3 * epoch], 0.5)),
    }
    return [{"steps": steps, "metrics": found, "states": {}}]


# -- draws ------------------------------------------------------------------------------------------------


def boxes(height, width, scale):
    """Mean and deviation of left, top, width and height of torchvision's boxes."""
    image = torch.zeros(3, height, width)
    drawn = [RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(100000)]
    table = torch.tensor([(left, top, w, h) for top, left, h, w in drawn], dtype=torch.float64)
    return table.mean(0).tolist(), table.std(0).tolist()


def draws():
    torch.manual_seed(1)
    found = {}
    for name, (mean, std) in {"square": boxes(32, 32, (0.08, 1.0)), "wide": boxes(16, 40, (0.2, 1.0))}.items():
        for i, side in enumerate(["left", "top", "width", "height"]):
            found[f"{name}_{side}"], found[f"{name}_{side}_std"] = mean[i], std[i]
    erased = RandomErasing(1.0)
    covered = [erased(torch.ones(3, 32, 32)).mean().item() for _ in range(20000)]
    hole = [min(i + 4, 32) - max(i - 4, 0) for i in range(32)]
    found |= {
        "mirrored": 0.5, "inverted": 0.3, "bright": 0.5, "bright_std": 0.4 / math.sqrt(12),
        # Red turned by h > 0 has green 6 h; turned back it has none.
        "turned": 0.15, "turned_std": math.sqrt(0.06 - 0.15 ** 2), "erased": sum(covered) / len(covered),
        "holed": 1 - (sum(hole) / 32) ** 2 / 1024, "kaiming": 2 / 576, "kaiming_out": 2 / 1152, "default": 1 / 1728,
        "default_max": 1 / 24, "xavier": 2 / 192, "xavier_normal": 2 / 192,
        # Variance of a normal distribution cut at two deviations: 1 - 4 phi(2) / (2 Phi(2) - 1).
        "truncated": 0.01 * 0.7737413, "truncated_max": 0.2, "orthogonal": 0.0, "orthogonal_tall": 0.0, "rows": 0.0,
        "crop_left": 2.0, "crop_left_std": math.sqrt(2), "crop_top": 2.0, "crop_top_std": math.sqrt(2),
        "dropped": 1.0, "dropped_share": 0.3, "thinned": 1.0, "thinned_share": 0.3, "thinned_apart": 0.0,
    }
    return [{"steps": 1, "tolerance": 0.04, "metrics": {name: [value] for name, value in found.items()}, "states": {}}]


if __name__ == "__main__":
    for program in [functions, augmentations, layers, recurrent, transformers, optimizers, schedules, draws]:
        (HERE / f"{program.__name__}.json").write_text(json.dumps(program(), indent=1) + "\n")
