"""One bench of run.py: sslc and PyTorch on the same GPU, turn by turn; rows of JSON, one a line, as they come.

    bench.py shapes|STEP|headline ROWS        (environment: see run.py)
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

from ours import Ours, Program
from protocol import Process, median

HERE = pathlib.Path(__file__).resolve().parent
PACK, DEVICE, TINY = HERE.parents[1], os.environ.get("SSLC_DEVICE", "cuda"), bool(os.environ.get("SSLC_DEVICE_REHEARSAL"))
LIBRARY, CACHE = str(PACK / "bin/libsslc.so"), os.environ.get("SSLC_DEVICE_CACHE", "")
# Program, its settings, batch, side of views and of pictures, precisions; and settings with which it takes no time.
STEPS = {
    "a": ("tests/bench/workloads/a.ssl", {}, 256, 32, 32, ["f32", "bf16"], {"batch": 4}),
    "resnet": ("tests/device/workloads/resnet.ssl", {}, 512, 32, 32, ["bf16", "f32"], {"batch": 2, "width": 2}),
    "vit": ("tests/device/workloads/vit.ssl", {"size": 224}, 256, 224, 256, ["bf16"], {"batch": 2, "dim": 12, "depth": 1, "hidden": 8, "size": 32, "side": 40}),
    "g": ("tests/bench/workloads/g.ssl", {"views": 512, "side": 256, "size": 224}, 512, 224, 256, ["f32"], {"views": 2, "side": 40, "size": 32}),
}


class Rows:
    def __init__(self, path):
        self.path, self.lacking = path, []

    def add(self, **row):
        if row.get("system", "sslc") == "sslc" and not row.get("sslc", row.get("status") == 0):
            self.lacking.append(row["name"])
        with open(self.path, "a") as f:
            print(json.dumps(row), file=f)
        print(json.dumps(row), flush=True)


def peer_process():
    """NULL where there is no PyTorch, or none that sees the GPU."""
    wanted = "import torch; assert %s" % ("torch.cuda.is_available()" if os.environ.get("SSLC_PEERS_DEVICE", "cuda") == "cuda" else "True")
    if subprocess.run([sys.executable, "-c", wanted], stderr=subprocess.DEVNULL).returncode:
        print("no PyTorch that sees the GPU: no peers", flush=True)
        return None
    return Process(sys.executable, HERE / "peers.py", dict(os.environ), os.sched_getaffinity(0))


def attempt(what, work):
    """Its result; None when it failed, which is in the log."""
    try:
        return work()
    except Exception as error:  # whatever it is, the others go on
        print(f"{what}: {error}", flush=True)
        return None


def shapes(rows):
    peer = peer_process()
    seconds, part = (0.01, ["product 64x64x64"]) if TINY else (0.1, [])
    for precision in ("bf16", "tf32", "f32", "wgmma", "tma"):  # the last: bf16 by groups of warps, where the device has them
        by_groups = precision in ("wgmma", "tma")
        command = [PACK / "bin/tests", "shapes", "-", "bf16" if by_groups else precision, str(seconds), *part]
        for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"SSLC_WGMMA": "1" if by_groups else "0", "SSLC_TMA": "1" if precision == "tma" else "0"}).stdout.splitlines():
            row = json.loads(line)
            theirs = None if by_groups else attempt(row["name"], lambda: peer.ask("contraction", name=row["name"], precision=precision, seconds=seconds)) if peer else None
            rows.add(part="shapes", name=row["name"], precision=precision, sslc=row.get("seconds"), flops=row.get("flops"), eager=theirs)
    if peer:
        peer.close()


class OnGpu(Ours):
    def __init__(self, name, precision):
        program, settings, self.batch_size, self.size, self.side, _, tiny = STEPS[name]
        self.scratch, self.name = pathlib.Path(tempfile.mkdtemp()), name
        self.program = Program(LIBRARY, PACK / program, 0, CACHE, tiny if TINY else settings, device=DEVICE, precision=precision)
        self.program.call("initialise")
        self.program.call("save", str(self.scratch / f"{name}.safetensors").encode())

    def seconds(self, seconds):
        """Of a step, of as many as fill the time."""
        each = 1 if TINY else 5
        self.program.run(each)
        start, n = time.perf_counter(), 0
        while not n or time.perf_counter() - start < seconds:
            self.program.run(each)
            n += each
        return (time.perf_counter() - start) / n


def steps(name, rows):
    _, _, batch, size, side, precisions, _ = STEPS[name]
    for precision in precisions[:1] if TINY else precisions:
        ours = attempt(f"{name} in sslc", lambda: OnGpu(name, precision))
        systems = {"sslc": ours.seconds} if ours else {}
        scratch = str(ours.scratch) if ours else ""
        for system, compiled in (("eager", False), ("compile", True)) if ours and not TINY else ():
            peer = peer_process()
            good = peer and attempt(system, lambda: peer.ask("open", workload=name, scratch=scratch, compiled=compiled, precision=precision, batch=batch, size=size, side=side))
            if good:
                systems[system] = lambda seconds, peer=peer: peer.ask("time", seconds=seconds)
        took = {system: [] for system in systems}
        for _ in range(1 if TINY else 2):
            for system, work in systems.items():
                took[system] += filter(None, [attempt(system, lambda: work(0 if TINY else 2))])
        rows.add(part=name, name=name, precision=precision, batch=batch, **{system: median(x) for system, x in took.items() if x})


class Watch(threading.Thread):
    """How busy the GPU was, by nvidia-smi, in %."""

    def __init__(self):
        super().__init__(daemon=True)
        self.found, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.wait(0.5):
            try:
                text = subprocess.run(["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"], capture_output=True, text=True).stdout
                self.found.append(float(re.findall(r"\d+", text)[0]))
            except (OSError, IndexError):
                return

    def end(self):
        self.ended.set()
        return sum(self.found) / len(self.found) if self.found else None


def headline(rows):
    """SimCLR, ResNet-18, CIFAR-10: a whole run as a person makes it, judged behind each epoch."""
    data = PACK / "data/cifar10"
    if not data.exists():
        return print("no CIFAR-10 in this pack: no headline")
    epochs, out = (1, 20)[not TINY], pathlib.Path(tempfile.mkdtemp()) / "run"
    settings = ["--set", f"epochs={epochs}"] + (["--set", "width=2", "--set", "batch=16", "--steps", "2"] if TINY else [])
    command = [PACK / "bin/sslc", "run", PACK / "tests/device/workloads/headline.ssl", "--data-root", PACK, "--device", DEVICE, "--out", out, "--precision", "bf16", *settings]
    watch, start, seen = Watch(), time.perf_counter(), []
    watch.start()
    run = subprocess.Popen(command)
    while run.poll() is None:
        time.sleep(0.1)
        lines = (out / "evaluation.jsonl").read_text().splitlines() if (out / "evaluation.jsonl").exists() else []
        seen += [time.perf_counter() - start] * (len(lines) - len(seen))
    took, busy = time.perf_counter() - start, watch.end()
    lines = [json.loads(x) for x in (out / "evaluation.jsonl").read_text().splitlines()] if (out / "evaluation.jsonl").exists() else []
    images = sum(len(f.read_bytes()) // 3073 for f in data.glob("data_batch_*.bin"))
    rows.add(part="headline", name="headline", system="sslc", status=run.returncode, seconds=took, images=images, epochs=epochs, busy=busy,
             top1=[(at, row) for at, row in zip(seen, lines)])
    peer = None if TINY else peer_process()
    if not peer:
        return
    scratch = pathlib.Path(tempfile.mkdtemp())
    program = Program(LIBRARY, PACK / "tests/device/workloads/headline.ssl", 0, CACHE, {}, device="cpu", data_root=str(PACK))
    program.call("initialise")
    program.call("save", str(scratch / "headline.safetensors").encode())
    for system, compiled in (("compile", True),):
        opened = attempt(system, lambda: peer.ask("open", workload="headline", scratch=str(scratch), compiled=compiled, precision="bf16", batch=512, size=32, side=32))
        watch = Watch()
        watch.start()
        found = opened and attempt(system, lambda: peer.ask("train", data=str(data), epochs=epochs))
        if found:
            rows.add(part="headline", name="headline", system=system, seconds=found[-1][0], images=images, epochs=epochs, busy=watch.end(), top1=[(at, top1) for at, _, top1 in found])


if __name__ == "__main__":
    what, rows = sys.argv[1], Rows(sys.argv[2])
    shapes(rows) if what == "shapes" else headline(rows) if what == "headline" else steps(what, rows)
    sys.exit(f"sslc failed: {', '.join(rows.lacking)}" if rows.lacking else 0)
