"""PyTorch's side of the benches on a GPU: products and convolutions one by one, and whole steps with their augmentation there, eager or through
torch.compile; channels last; in f32, TF32 or bf16 (autocast; weights stay f32)."""
import contextlib
import glob
import os
import re
import time

import numpy as np
import torch
import torch.nn.functional as F

import files
import peers_torch as networks
import views
from protocol import serve

LAST = torch.channels_last
CONVOLUTION = re.compile(r"conv (\d+)x\d+ (\d+)->(\d+) batch (\d+) (\d+)->(\d+) (\w+)")
PRODUCT = re.compile(r"product (\d+)x(\d+)x(\d+)")
GPU = os.environ.get("SSLC_PEERS_DEVICE", "cuda")  # "cpu" to try this file without one


def wait():
    if GPU == "cuda":
        torch.cuda.synchronize()


def be_precise(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def autocast(precision):
    return torch.autocast(GPU, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def contraction(name, dtype):
    """What runs the product or convolution of that name."""
    random = lambda *shape: torch.randn(*shape, device=GPU, dtype=dtype)
    product = PRODUCT.match(name)
    if product:
        m, n, k = map(int, product.groups())
        x, y = random(m, k), random(k, n)
        return lambda: x @ y
    found = CONVOLUTION.match(name)
    taps, c, k, batch, size, out = map(int, found.groups()[:6])
    stride, padding = size // out, taps // 2
    x, w, dy = (t.to(memory_format=LAST) for t in (random(batch, c, size, size), random(k, c, taps, taps), random(batch, k, out, out)))
    if found[7] == "forward":
        return lambda: F.conv2d(x, w, stride=stride, padding=padding)
    wanted = [found[7] == "data", found[7] == "weight", False]
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted)


def seconds_of(work, seconds, warm=3):
    """Seconds of one, of as many as fill the time."""
    for _ in range(warm):
        work()
    wait()
    start, n = time.perf_counter(), 0
    while n < 3 or (time.perf_counter() - start < seconds and n < 2000):
        for _ in range(5):
            work()
        n += 5
        wait()
    return (time.perf_counter() - start) / n


# -- steps ------------------------------------------------------------------------------------------------------------


def seed(p, fixed, a, b):
    return networks.simclr(p, fixed, torch.cat([a, b]), None)


def resnet(p, fixed, a, b):
    return networks.simclr_resnet(p, fixed, torch.cat([a, b]), None)


def vit(p, x, heads):
    x = F.conv2d(x, p["f/conv_1/w"], p["f/conv_1/b"], stride=p["f/conv_1/w"].shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([p["f/own"].expand(len(x), -1, -1).to(x.dtype), x], 1) + p["f/position"]
    return networks.trunk(p, "f/trunk_1", x, networks.depth_of(p, "f/trunk_1"), heads)[:, 0]


def projector(p, fixed, x):
    for i in (1, 2):
        norm = f"g/batch_norm_{i}/"
        x = networks.linear(p, f"g/linear_{i}", x)
        x = F.relu(F.batch_norm(x, fixed[norm + "running_mean"], fixed[norm + "running_var"], p[norm + "scale"], p[norm + "shift"], True, 0.1, 1e-5))
    return networks.linear(p, "g/linear_3", x)


def twins(p, fixed, a, b):
    a, b = ((z - z.mean(0)) / z.std(0, unbiased=False) for z in (projector(p, fixed, vit(p, x, 6)).float() for x in (a, b)))
    c = a.T @ b / len(a)
    on = (torch.diagonal(c) - 1).pow(2).sum()
    return on + 0.0051 * (c.pow(2).sum() - torch.diagonal(c).pow(2).sum())


def sgd(w):
    return torch.optim.SGD(w, lr=1e-3, momentum=0.9, fused=True)


def adamw(w):
    return torch.optim.AdamW(w, lr=1e-4, weight_decay=0.05, fused=True)


STEPS = {"a": (seed, networks.adam), "resnet": (resnet, sgd), "vit": (twins, adamw), "headline": (resnet, lambda w: torch.optim.AdamW(w, lr=2e-3, weight_decay=1e-4, fused=True))}


class Peer:
    def open(self, workload, scratch, compiled, precision, batch, size, side):
        """With the weights that sslc began with."""
        be_precise(precision)
        torch.set_default_device(GPU)
        torch.manual_seed(1)
        self.precision, self.size = precision, size
        make = lambda x, u: views.views(torch, x, u, size)
        self.make = torch.compile(make) if compiled else make
        self.pictures = torch.randint(0, 256, (2 * batch, 3, side, side), dtype=torch.uint8)
        self.batch = batch
        if workload in STEPS:
            loss, optimizer = STEPS[workload]
            trained, fixed = files.first_weights(scratch, workload)
            self.p = {k: torch.tensor(v).to(GPU, **({"memory_format": LAST} if v.ndim == 4 else {})).requires_grad_() for k, v in trained.items()}
            self.fixed = {k: torch.tensor(v).to(GPU) for k, v in fixed.items()}
            self.loss = torch.compile(loss) if compiled else loss
            self.optimizer = optimizer(list(self.p.values()))
        self.once = self.step if workload in STEPS else self.view
        start = time.perf_counter()
        self.once()
        wait()
        return {"version": torch.__version__, "first_seconds": time.perf_counter() - start}

    @torch.no_grad()
    def view(self, pictures=None):
        pictures = self.pictures[torch.randint(0, len(self.pictures), (self.batch,))] if pictures is None else pictures
        return self.make(pictures, torch.rand(len(pictures), views.DRAWS)).to(memory_format=LAST)

    def step(self, pictures=None):
        pictures = self.pictures[torch.randint(0, len(self.pictures), (self.batch,))] if pictures is None else pictures
        a, b = self.view(pictures), self.view(pictures)
        with autocast(self.precision):
            loss = self.loss(self.p, self.fixed, a, b)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def time(self, seconds):
        return seconds_of(self.once, seconds)

    def train(self, data, epochs):
        """The headline: epochs over CIFAR-10, judged behind each. [(seconds so far, seconds of training, top1)]."""
        splits = {}
        for split, names in (("train", "data_batch_*.bin"), ("test", "test_batch*.bin")):
            rows = torch.cat([torch.from_numpy(np.fromfile(f, np.uint8)).view(-1, 3073) for f in sorted(glob.glob(f"{data}/{names}"))]).to(GPU)
            splits[split] = rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long()
        pictures, start, trained, found = splits["train"][0], time.perf_counter(), 0.0, []
        for _ in range(epochs):
            begun, order = time.perf_counter(), torch.randperm(len(pictures))
            for at in range(0, len(pictures) - self.batch + 1, self.batch):
                self.step(pictures[order[at:at + self.batch]])
            wait()
            trained += time.perf_counter() - begun
            top1 = self.judge(*splits["train"], *splits["test"])
            found.append((time.perf_counter() - start, trained, top1))
        return found

    @torch.no_grad()
    def judge(self, train, train_label, test, test_label):
        def features(x):
            with autocast(self.precision):
                parts = [networks.resnet18(self.p, self.fixed, ((y / 255.0) - 0.5).div(0.5).to(memory_format=LAST)) for y in x.split(1000)]
            return F.normalize(torch.cat(parts).float())
        train, test = features(train), features(test)
        right = 0
        for x, label in zip(test.split(1000), test_label.split(1000)):
            similarity, index = (x @ train.T).topk(20)
            votes = torch.zeros(len(x), 10).scatter_add_(1, train_label[index], (similarity / 0.1).exp())
            right += (votes.argmax(1) == label).sum().item()
        return right / len(test_label)

    def contraction(self, name, precision, seconds):
        be_precise(precision)
        return seconds_of(contraction(name, torch.bfloat16 if precision == "bf16" else torch.float32), seconds)


if __name__ == "__main__":
    serve(Peer())
