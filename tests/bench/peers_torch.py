"""PyTorch's side of the bench: the same steps on the weights that sslc began with, eager and channels last, or through torch.compile.

Weights go by the names that they have in sslc's checkpoints. Optimizers are the fused ones; attention is PyTorch's own.
"""
import math
import os
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import draws
import files
import views
from protocol import serve, time_each, watch_memory

LAST = torch.channels_last


# -- networks ---------------------------------------------------------------------------------------------


def linear(p, name, x):
    return F.linear(x, p[name + "/w"], p.get(name + "/b"))


def mlp(p, name, x, act=F.relu):
    return linear(p, name + "/linear_2", act(linear(p, name + "/linear_1", x)))


def small_cnn(p, x):
    for i in (1, 2, 3):
        x = F.relu(F.conv2d(x, p[f"body/conv_{i}/w"], p[f"body/conv_{i}/b"], padding=1))
        x = F.max_pool2d(x, 2) if i < 3 else x.mean((2, 3))
    return linear(p, "head", x)


def conv_norm(p, fixed, name, x, stride):
    w, norm = p[name + "/conv_1/w"], name + "/batch_norm_1/"
    x = F.conv2d(x, w, stride=stride, padding=w.shape[2] // 2)
    return F.batch_norm(x, fixed[norm + "running_mean"], fixed[norm + "running_var"], p[norm + "scale"], p[norm + "shift"], True, 0.1, 1e-5)


def resnet18(p, fixed, x):
    x = F.relu(conv_norm(p, fixed, "f/resnet_1/conv_norm_1", x, 1))
    for i in range(8):
        name, stride = f"f/resnet_1/basic_block_{i + 1}", 2 if i in (2, 4, 6) else 1
        y = F.relu(conv_norm(p, fixed, name + "/conv_norm_1", x, stride))
        short = conv_norm(p, fixed, name + "/shortcut_1/conv_norm_1", x, stride) if stride == 2 else x
        x = F.relu(conv_norm(p, fixed, name + "/conv_norm_2", y, 1) + short)
    return x.mean((2, 3))


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[name + "/scale"], p[name + "/shift"], 1e-5)


def attention(p, name, x, heads, causal):
    n, length, width = x.shape
    q, k, v = linear(p, name + "/linear_1", x).view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return linear(p, name + "/linear_2", y.transpose(1, 2).reshape(n, length, width))


def trunk(p, name, x, depth, heads, causal=False):
    for i in range(depth):
        block = f"{name}/block_{i + 1}"
        x = x + attention(p, block + "/attention_1", layer_norm(p, block + "/layer_norm_1", x), heads, causal)
        x = x + mlp(p, block + "/mlp_1", layer_norm(p, block + "/layer_norm_2", x), F.gelu)
    return layer_norm(p, name + "/layer_norm_1", x)


# -- losses: of weights, what is not trained, the batch, and draws --------------------------------------------


def nt_xent(a, b, temperature=0.5):
    z = torch.cat([a, b])
    n = len(a)
    scores = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e30)
    return F.cross_entropy(scores, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def simclr(p, fixed, x, _):
    z = F.normalize(mlp(p, "g", small_cnn(p, x)))
    return nt_xent(*z.chunk(2))


def simclr_resnet(p, fixed, x, _):
    return nt_xent(*(F.normalize(mlp(p, "g", resnet18(p, fixed, view))) for view in x.chunk(2)))


def depth_of(p, name):
    return sum(k.startswith(name + "/block_") and k.endswith("/layer_norm_1/scale") for k in p)


def tokens(x, index):
    """By gather, whose derivative is many times faster than that of x[rows, index]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


def mae(p, fixed, x, order):
    n, c, h, w = x.shape
    patches = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, 16 * c)
    kept = patches.shape[1] // 4
    seen, unseen = order[:, :kept], order[:, kept:]
    z = linear(p, "to_decoder", trunk(p, "enc", tokens(linear(p, "embed", patches) + fixed["positions"], seen), depth_of(p, "enc"), 3))
    full = tokens(torch.cat([z, p["hidden"].expand(n, patches.shape[1] - kept, -1)], 1), order.argsort(1))
    drawn = linear(p, "to_pixels", trunk(p, "dec", full + fixed["decoder_positions"], 2, 3))
    wanted = tokens(patches, unseen)
    wanted = (wanted - wanted.mean(-1, keepdim=True)) * (wanted.var(-1, keepdim=True) + 1e-6).rsqrt()
    return F.mse_loss(tokens(drawn, unseen), wanted)


def next_byte(p, fixed, t, _):
    x = F.embedding(t[:, :-1], p["lm/embedding_1/w"]) + p["lm/position"]
    logits = linear(p, "lm/linear_1", trunk(p, "lm/trunk_1", x, depth_of(p, "lm/trunk_1"), 4, causal=True))
    return F.cross_entropy(logits.flatten(0, 1), t[:, 1:].flatten())


def completion(p, fixed, x, mask):
    y = torch.where(mask < 0.25, x, 0.0)
    for i in (1, 2, 3, 4):
        y = linear(p, f"net/linear_{i}", y)
        y = F.relu(y) if i < 4 else y
    return F.mse_loss(y, x)


def adam(weights):
    return torch.optim.Adam(weights, lr=1e-3, fused=True)


# What is minimised, how, the field of the batch, and the draws of a step: their site in the program and their shape for n samples.
WORKLOADS = {
    "a": (simclr, adam, "img", None),
    "b": (simclr, adam, "img", None),
    "c": (simclr_resnet, lambda w: torch.optim.SGD(w, lr=1e-3, momentum=0.9, fused=True), "img", None),
    "d": (mae, lambda w: torch.optim.AdamW(w, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True), "img", ("mae/random_split_1/draw_1", 64)),
    "e": (next_byte, lambda w: torch.optim.AdamW(w, lr=1e-3, weight_decay=0.1, fused=True), "t", None),
    "f": (completion, adam, "img", ("completion/draw_1", 784)),
}


# -- augmentation ------------------------------------------------------------------------------------------


class Torchvision:
    """Its transforms, one picture after another, in as many processes as there are threads; kind: "v1", on pictures of PIL, or "v2", on
    tensors of bytes."""

    def __init__(self, pictures, size, threads, kind):
        import torchvision.transforms as v1
        import torchvision.transforms.v2 as v2
        module = v1 if kind == "v1" else v2
        jitter = [module.RandomApply([module.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), module.RandomGrayscale(0.2)]
        if kind == "v1":
            from PIL import Image
            self.pictures = [Image.fromarray(x.transpose(1, 2, 0)) for x in pictures]
            parts = [v1.RandomResizedCrop(size, (0.2, 1.0)), v1.RandomHorizontalFlip(), *jitter, v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)]
        else:
            self.pictures = list(torch.from_numpy(pictures))
            parts = [v2.RandomResizedCrop(size, (0.2, 1.0), antialias=False), v2.RandomHorizontalFlip(), *jitter,
                     v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
        self.transform = module.Compose(parts)
        self.shape = (3, size, size)
        self.buffer = torch.empty(0)
        self.threads = threads

    def open(self, times):
        """The processes, and memory that they share for each picture augmented `times` times."""
        self.buffer = torch.empty(times * len(self.pictures), *self.shape).share_memory_()
        self.workers = [self.start(i) for i in range(self.threads)]

    def start(self, number):
        """A process that augments its share whenever a byte comes."""
        (wake_in, wake_out), (done_in, done_out) = os.pipe(), os.pipe()
        if os.fork():
            os.close(wake_in), os.close(done_out)
            return wake_out, done_in
        os.close(wake_out), os.close(done_in)
        torch.set_num_threads(1)
        torch.manual_seed(number)
        while os.read(wake_in, 1):
            for i in range(number, len(self.buffer), self.threads):
                self.buffer[i] = self.transform(self.pictures[i % len(self.pictures)])
            os.write(done_out, b".")
        os._exit(0)

    def __call__(self):
        for wake, _ in self.workers:
            os.write(wake, b".")
        for _, done in self.workers:
            os.read(done, 1)
        return self.buffer

    def close(self):
        for wake, done in self.workers:
            os.close(wake), os.close(done)


class Batched:
    """views.py on the whole batch, with all threads."""

    def __init__(self, pictures, size, compiled):
        self.pictures = torch.from_numpy(pictures)
        make = lambda x, u: views.views(torch, x, u, size)
        self.make = torch.compile(make) if compiled else make

    def open(self, times):
        self.batch = self.pictures.repeat(times, 1, 1, 1)

    @torch.no_grad()
    def __call__(self):
        return self.make(self.batch, torch.rand(len(self.batch), views.DRAWS))

    def close(self):
        pass


def fastest(ways, times):
    """The way of augmentation that takes the least time, by its name; each is tried a few times."""
    took = {}
    for name, way in ways.items():
        way.open(times)
        way()
        took[name] = min(time_each(way, 3))
    best = min(took, key=took.get)
    for name, way in ways.items():
        if name != best:
            way.close()
    return best, {name: seconds for name, seconds in took.items()}


# -- the system ---------------------------------------------------------------------------------------------


class Torch:
    def open(self, workload, threads, scratch, compiled, size=32):
        self.scratch, self.workload, self.compiled, self.threads, self.size = scratch, workload, compiled, threads, size
        self.augment, facts = None, {}
        if workload in ("a", "g"):
            pictures = files.batch(scratch, workload, "img")
            ways = {"batched": Batched(pictures, size, compiled)}
            if not compiled:
                ways |= {"torchvision " + kind: Torchvision(pictures, size, threads, kind) for kind in ("v1", "v2")}
            if workload == "g" and not compiled:
                ways.pop("batched")
            best, facts["ways"] = fastest(ways, 2 if workload == "a" else 1)  # forks before any thread is there
            self.augment = ways[best]
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        if workload in WORKLOADS:
            self.prepare(*WORKLOADS[workload])
        elif workload == "h":
            self.bank = [torch.from_numpy(files.batch(scratch, split, field)) for split in ("train", "test") for field in ("x", "label")]
            self.judging = torch.compile(nearest) if compiled else nearest
        return facts | {"version": torch.__version__}

    def prepare(self, loss, optimizer, field, drawn):
        trained, fixed = files.first_weights(self.scratch, self.workload)
        format_of = {4: {"memory_format": LAST}}
        self.p = {k: torch.from_numpy(v.copy()).to(**format_of.get(v.ndim, {})).requires_grad_() for k, v in trained.items()}
        self.fixed = {k: torch.from_numpy(v.copy()) for k, v in fixed.items()}
        self.loss, self.drawn = torch.compile(loss) if self.compiled else loss, drawn
        self.optimizer = optimizer(list(self.p.values()))
        x = files.batch(self.scratch, self.workload, field)
        if field == "t":
            self.x = torch.from_numpy(x.astype(np.int64))
        elif self.workload == "f":
            self.x = torch.from_numpy(x[:, 0].reshape(len(x), -1).astype(np.float32) / 255)
        else:
            self.x = torch.from_numpy(files.normalised(x)).to(memory_format=LAST)
        self.n = len(x)

    def draw(self, step=None):
        """Those of sslc's step of that number, or fresh ones."""
        if not self.drawn:
            return None
        site, count = self.drawn
        u = torch.rand(self.n, count) if step is None else torch.from_numpy(draws.uniform(step, site, (self.n, count)))
        return u.argsort(1) if self.workload == "d" else u

    def step(self, number=None):
        if self.workload == "a" and number is None:
            self.x = self.augment().to(memory_format=LAST)
        loss = self.loss(self.p, self.fixed, self.x, self.draw(number))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def once(self):
        return self.augment() if self.workload == "g" else self.judge() if self.workload == "h" else self.step()

    def steps(self, steps):
        """Losses of the first steps on sslc's batch, and what memory they took."""
        start = time.perf_counter()
        losses, before, peak = watch_memory(lambda: [self.step(i).item() for i in range(steps)])
        return {"losses": losses, "before": before, "peak": peak, "first_seconds": time.perf_counter() - start}

    def first(self, steps):
        results, before, peak = watch_memory(lambda: [self.once() for _ in range(steps)])
        return {"result": results[-1] if self.workload == "h" else None, "before": before, "peak": peak}

    def time(self, steps):
        return time_each(self.once, steps)

    def views(self, rounds):
        """How augmented pictures are distributed, beside those of sslc."""
        return files.compare_views(np.load(f"{self.scratch}/views.npy"), torch.cat([self.augment().clone() for _ in range(rounds)]).numpy())

    @torch.no_grad()
    def judge(self):
        return self.judging(*self.bank).item()


def nearest(train, train_label, test, test_label, k=20, temperature=0.1):
    """The share of test samples that the weighed votes of their nearest neighbours put right; by chunks, so that it fits in memory."""
    train, right = F.normalize(train), torch.zeros((), dtype=torch.long)
    for x, label in zip(F.normalize(test).split(1000), test_label.split(1000)):
        similarity, index = (x @ train.T).topk(k)
        votes = torch.zeros(len(x), 10).scatter_add_(1, train_label[index].long(), ((similarity - similarity[:, :1]) / temperature).exp())
        right = right + (votes.argmax(1) == label).sum()
    return right / len(test)


if __name__ == "__main__":
    serve(Torch())
