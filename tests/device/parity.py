"""Whole steps of an example on the processor and on the GPU, in f32 from the same seed: the losses of a few steps, which draw the same
augmentations, and every state behind them.

    parity.py LIBRARY PROGRAM DEVICE CACHE [NAME=VALUE...]
"""
import array
import math
import sys

from ours import STATE, Program

F32, STEPS = 6, 3
# Rounding grows from step to step, fastest where Adam divides by small moments; a wrong kernel is off by orders of magnitude.
LOSS, STATES = 1e-3, 2e-2


def run(library, path, device, cache, settings):
    program = Program(library, path, 0, cache, settings, device=device)
    if program.facts().device.decode().startswith("cpu") != (device == "cpu"):
        raise RuntimeError(f"{device} was asked for, and it is on {program.facts().device.decode()}")
    losses = []
    for _ in range(STEPS):
        program.run()
        losses.append(program.sslc.sslc_metric(program.handle, b"loss"))
    states = {name.decode(): array.array("f", bytes(program.state(name.decode()))) for name, kind, _, _ in program.tensors(STATE) if kind == F32}
    program.sslc.sslc_free(program.handle)
    return losses, states


def distance(x, y):
    norm = math.sqrt(math.sumprod(y, y)) if hasattr(math, "sumprod") else math.sqrt(sum(b * b for b in y))
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y))) / (norm or 1)


def main(library, path, device, cache, *settings):
    settings = dict(x.split("=") for x in settings)
    here, there = (run(library, path, on, cache, settings) for on in ("cpu", device))
    loss = max(abs(a - b) / max(abs(a), 1e-3) for a, b in zip(here[0], there[0]))
    worst, name = max((distance(there[1][n], x), n) for n, x in here[1].items())
    good = loss < LOSS and worst < STATES  # NaN is not
    print(f"{path}: losses {here[0]} on the processor, {there[0]} on {device}: off by {loss:.2g}; states by {worst:.2g} ({name}){'' if good else ': WRONG'}")
    return not good


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
