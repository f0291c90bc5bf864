#!/usr/bin/env python3
"""Loss curves of a program in f32 and in bf16: the same seed, data and draws, and another seed in f32 as a measure of chance.

    python3 tests/bench/precision.py tests/bench/baseline.ssl --data-root DIR --steps 300 --set batch=64

Prints means over stretches of the run. Nothing but Python is needed.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STRETCHES = 10


def losses(arguments, precision, seed):
    """Losses by step."""
    with tempfile.TemporaryDirectory() as out:
        command = [arguments.sslc, "run", arguments.program, "--precision", precision, "--seed", str(seed), "--steps", str(arguments.steps),
                   "--out", f"{out}/run", "--quiet"]
        command += ["--data-root", arguments.data_root] if arguments.data_root else []
        for setting in arguments.set:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in pathlib.Path(out, "run", "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--data-root")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--sslc", default=str(ROOT / "build" / "sslc"))
    arguments = parser.parse_args()
    runs = [("f32", 0), ("bf16", 0), ("f32", 1)]
    curves = [losses(arguments, *run) for run in runs]
    print("steps          " + "".join(f"{precision + ' seed ' + str(seed):>15}" for precision, seed in runs))
    n = min(len(curve) for curve in curves)
    for i in range(STRETCHES):
        start, end = i * n // STRETCHES, (i + 1) * n // STRETCHES
        if start < end:
            print(f"{start:6}-{end - 1:<8}" + "".join(f"{sum(curve[start:end]) / (end - start):15.5f}" for curve in curves))


if __name__ == "__main__":
    main()
