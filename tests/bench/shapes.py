"""Products and convolutions one by one, as bench_contractions has them, beside oneDNN in PyTorch in its faster format: turn by turn, of each
the best time.
"""
import os
import pathlib
import re
import subprocess

from protocol import Process

HERE = pathlib.Path(__file__).resolve().parent
LINE = re.compile(r"^(.{44}) f32 +([\d.]+) ms +[\d.]+ GFLOP/s +([\d.]+) % of peak", re.MULTILINE)


def ours(bench, asked):
    """By name: seconds, and % of the peak that was measured in front."""
    command = [pathlib.Path(asked.library).resolve().parent / "bench_contractions", str(asked.threads), "", "f32"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, bench.cpus)).stdout
    return {name.strip(): (1e-3 * float(ms), float(of_peak)) for name, ms, of_peak in LINE.findall(text)}


def measure(bench, asked):
    """Rows for table.py."""
    rows = {}
    peer = Process(bench.python, HERE / "peers_onednn.py", dict(os.environ), bench.cpus) if "eager" in bench.peers else None
    if peer:
        peer.ask("open", threads=asked.threads)
    for turn in range(asked.rounds):
        bench.say(f"shapes: turn {turn + 1} of {asked.rounds}")
        for name, (seconds, of_peak) in ours(bench, asked).items():
            row = rows.setdefault(name, {"name": name, "seconds": seconds, "of_peak": of_peak})
            row["seconds"], row["of_peak"] = min(row["seconds"], seconds), max(row["of_peak"], of_peak)
            ways = peer.ask("time", name=name) if peer else {}
            for way, took in ways.items():
                if took < row.get("peer_seconds", float("inf")):
                    row["peer_seconds"], row["way"] = took, way
    if peer:
        peer.close()
    return list(rows.values())
