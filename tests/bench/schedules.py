#!/usr/bin/env python3
"""How far the default schedules of the heaviest kernels are from the best that a search finds.

    python3 tests/bench/schedules.py                            # five kernels of (a) and of (c), 200 schedules each: about half an hour
    python3 tests/bench/schedules.py --workload a --kernels 2 --schedules 50

`sslc tune` tries them, on one thread; what it finds is not kept. Ends with 1 where a default takes more than 1.1 times the best's time, or fewer
schedules ran than were asked for.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import table
from workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
WORST_RATIO = 1.1


def tune(asked, w):
    settings = [f"--set={name}={value}" for name, value in w.settings.items()]
    command = [asked.sslc, "tune", "--json", "--kernels", str(asked.kernels), "--schedules", str(asked.schedules), "--budget", str(asked.budget)]
    with tempfile.TemporaryDirectory() as cache:
        text = subprocess.run([*command, *settings, HERE / "workloads" / f"{w.program}.ssl"], stdout=subprocess.PIPE, text=True, check=True,
                              env=os.environ | {"XDG_CACHE_HOME": cache}).stdout
    return json.loads(text)


def show(w, rows):
    print(f"\n({w.name}) {w.title}\n{'kernel':<34}{'tried':>6}{'default':>9}{'best':>9}{'median':>9}{'worst':>9}  d/best")
    for row in rows:
        times = [1e3 * row[f"{which}_seconds"] for which in ("default", "best", "median", "worst")]
        print(f"{row['kernel'][:24]:<24}{100 * row['share']:7.1f} % {row['tried']:>6}" + "".join(f"{ms:9.2f}" for ms in times) + f"{times[0] / times[1]:8.2f}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="a,c")
    parser.add_argument("--kernels", type=int, default=5, help="that take most of a step (5)")
    parser.add_argument("--schedules", type=int, default=200, help="different ones for each (200)")
    parser.add_argument("--budget", type=int, default=1800, help="seconds for a workload at most (1800)")
    parser.add_argument("--sslc", default=str(HERE.parents[1] / "build" / "sslc"))
    asked = parser.parse_args()
    print(f"{table.machine()}; milliseconds on one thread, % of a step")
    bad = 0
    for w in (w for name in asked.workload.split(",") for w in WORKLOADS if w.name == name):
        rows = tune(asked, w)
        show(w, rows)
        bad += sum(row["default_seconds"] > WORST_RATIO * row["best_seconds"] or row["tried"] < asked.schedules for row in rows)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
