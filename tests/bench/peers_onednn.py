"""oneDNN as PyTorch carries it: one product or convolution at a time, by the name that bench_contractions gives it."""
import re
import time

import torch
import torch.nn.functional as F

from protocol import serve

RUNS = 15
CONVOLUTION = re.compile(r"conv (\d+)x\d+ (\d+)->(\d+) batch (\d+) (\d+)->(\d+) (\w+)")
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def blocked(t):
    """The same in the layout that oneDNN chooses for what its convolutions write."""
    channels = t.shape[1]
    return F.conv2d(t.to_mkldnn(), torch.eye(channels).view(channels, channels, 1, 1).to_mkldnn())


def convolutions(taps, c, k, batch, size, out, direction):
    stride, padding = size // out, taps // 2
    x, w, dy = torch.randn(batch, c, size, size), torch.randn(k, c, taps, taps), torch.randn(batch, k, out, out)
    if direction == "forward":
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(w.to_mkldnn(), [padding] * 2, [stride] * 2, [1, 1], 1, list(x.shape))
        xb = blocked(x)
        yield "blocked", lambda: F.conv2d(xb, packed, stride=stride, padding=padding)
    for name, format in FORMATS.items():
        xf, wf, dyf = (t.contiguous(memory_format=format) for t in (x, w, dy))
        if direction == "forward":
            yield name, lambda: F.conv2d(xf, wf, stride=stride, padding=padding)
        else:
            wanted = [direction == "data", direction == "weight", False]
            yield name, lambda: torch.ops.aten.convolution_backward(dyf, xf, wf, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted)


def products(name):
    if name.startswith("product"):
        a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        yield "product", lambda: a @ b
        return
    x, w, dy = torch.randn(512, 512), torch.randn(2048, 512), torch.randn(512, 2048)
    if name.endswith("data"):
        yield "linear", lambda: dy @ w
    elif name.endswith("weight"):
        yield "linear", lambda: dy.T @ x
    else:
        yield "linear", lambda: F.linear(x, w)


class System:
    def open(self, threads):
        torch.set_num_threads(threads)

    def time(self, name):
        """The best of several runs in each way that there is."""
        found = CONVOLUTION.match(name)
        ways = convolutions(*map(int, found.groups()[:6]), found[7]) if found else products(name)
        best = {}
        with torch.no_grad():
            for way, run in ways:
                run()
                for _ in range(RUNS):
                    start = time.perf_counter()
                    run()
                    best[way] = min(best.get(way, float("inf")), time.perf_counter() - start)
        return best


if __name__ == "__main__":
    serve(System())
