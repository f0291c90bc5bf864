"""The seed recipe's training step: sslc against PyTorch on this machine, in one run.

    python tests/bench/peers.py build/libsslc.so DATA_ROOT [THREADS]

DATA_ROOT/data/cifar10 holds CIFAR-10's binary files. sslc runs tests/bench/baseline.ssl: bytes to augmented views, encoder,
projector, NT-Xent, backward, Adam. PyTorch (eager, channels_last, oneDNN) runs the same step on views that are there already,
so it does less. The two take turns; medians of all steps, and their ratio.
"""
import ctypes
import pathlib
import statistics
import sys
import time

import torch
from torch import nn

BATCH, ROUNDS, STEPS = 256, 3, 8


def encoder():
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]

    body = [*block(3, 64), nn.MaxPool2d(2), *block(64, 128), nn.MaxPool2d(2), *block(128, 256), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(256, 128), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 128))


def nt_xent(a, b, temperature):
    z = nn.functional.normalize(torch.cat([a, b]))
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    n = len(a)
    return nn.functional.cross_entropy(scores, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


class Peer:
    def __init__(self):
        torch.manual_seed(1)
        self.net = encoder().to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.views = [torch.rand(BATCH, 3, 32, 32).sub(0.5).div(0.5).to(memory_format=torch.channels_last) for _ in range(2)]

    def step(self):
        start = time.perf_counter()
        loss = nt_xent(self.net(self.views[0]), self.net(self.views[1]), 0.5)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        return time.perf_counter() - start


class Options(ctypes.Structure):  # sslc_options of sslc.h
    _fields_ = [("overrides", ctypes.c_void_p), ("n_overrides", ctypes.c_size_t), ("data_root", ctypes.c_char_p), ("arrays", ctypes.c_void_p),
                ("n_arrays", ctypes.c_size_t), ("seed", ctypes.c_void_p), ("threads", ctypes.c_uint), ("real", ctypes.c_int),
                ("cache", ctypes.c_char_p), ("checked", ctypes.c_int)]


class Ours:
    def __init__(self, library, root, threads):
        self.sslc = ctypes.CDLL(library)
        self.sslc.sslc_message.restype = ctypes.c_char_p
        self.program = ctypes.c_void_p()
        path = str(pathlib.Path(__file__).with_name("baseline.ssl")).encode()
        options = Options(data_root=root.encode(), threads=threads)
        self.check(self.sslc.sslc_compile_file(path, ctypes.byref(options), ctypes.byref(self.program)))

    def check(self, status):
        if status:
            sys.exit(self.sslc.sslc_message(self.program).decode())

    def step(self):
        start = time.perf_counter()
        self.check(self.sslc.sslc_run(self.program, ctypes.c_int64(1)))
        return time.perf_counter() - start


def main():
    library, root = sys.argv[1:3]
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    torch.set_num_threads(threads)
    us, peer, ours, theirs = Ours(library, root, threads), Peer(), [], []
    for one in (us, peer):
        one.step(), one.step()
    for _ in range(ROUNDS):
        theirs += [peer.step() for _ in range(STEPS)]
        ours += [us.step() for _ in range(STEPS)]
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"threads {threads}, batch {BATCH}, {len(ours)} steps each")
    print(f"sslc, augmentation included             {a:7.3f} s a step")
    print(f"PyTorch {torch.__version__:12s} on given views {b:11.3f} s a step")
    print(f"ratio                                   {b / a:7.2f}")


if __name__ == "__main__":
    main()
