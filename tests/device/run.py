"""Everything that a GPU is needed for, in one call; the table of what came of it is printed last. run.sh starts it in an unpacked pack.

Environment: SSLC_DEVICE (cuda), SSLC_DEVICE_SECONDS (570) for all of it, OUT: the folder of log.txt and rows.jsonl (device-out),
SSLC_DEVICE_REHEARSAL: sizes at which an emulation is fast enough. Exit status: 0 parity is green, 1 it is not, 2 there is no device.
"""
import concurrent.futures
import glob
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PACK = HERE.parents[1]
DEVICE, TINY = os.environ.get("SSLC_DEVICE", "cuda"), bool(os.environ.get("SSLC_DEVICE_REHEARSAL"))
OUT = pathlib.Path(os.environ.get("OUT") or "device-out").resolve()
END = time.monotonic() + float(os.environ.get("SSLC_DEVICE_SECONDS", 570))
NO_DEVICE = 77
REFERENCES = ["convolution", "simclr", "byol", "moco", "resnet", "mae", "gan", "dcgan", "maml", "first_order", "gpt"]
TINY_REFERENCES, TINY_EXAMPLES = ["convolution"], ["sinusoid"]


class Runner:
    def __init__(self):
        OUT.mkdir(parents=True, exist_ok=True)
        self.log, self.rows = open(OUT / "log.txt", "w"), OUT / "rows.jsonl"
        self.rows.write_text("")
        self.cache = tempfile.mkdtemp()
        self.environment = os.environ | {"SSLC_TEST_DEVICE": DEVICE, "SSLC_DEVICE_CACHE": self.cache, "XDG_CACHE_HOME": self.cache, "LC_ALL": "C",
                                         "PYTHONPATH": f"{PACK}/tests/bench:{HERE}", "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", sys.prefix)}
        self.parity, self.notes = [], []

    def say(self, text):
        print(text, flush=True)
        print(text, file=self.log, flush=True)

    def run(self, command, limit, environment=None):
        """(status, seconds, output); None is the status of what took too long. Its processes end with it."""
        limit, start = min(limit, END - time.monotonic()), time.monotonic()
        if limit <= 1:
            return None, 0, "no time was left for it\n"
        process = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=PACK,
                                   env=self.environment | (environment or {}), process_group=0)  # not a session: that would be another share of the processor
        try:
            output, status = process.communicate(timeout=limit)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, status = process.communicate()[0] + f"\nended after {limit:.0f} s\n", None
        return status, time.monotonic() - start, output

    def together(self, name, title, jobs, limit, on_trial=False):
        """Several commands at once, one result: green when all are. What is on trial is only noted."""
        start, wrong = time.monotonic(), []
        with concurrent.futures.ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            found = list(pool.map(lambda job: self.run(job[1], limit, job[2] if len(job) > 2 else None), jobs))
        for job, (status, took, output) in zip(jobs, found):
            print(f"==== {name}: {job[0]}: status {status}, {took:.1f} s\n{output}", file=self.log, flush=True)
            if status == NO_DEVICE and "NO DEVICE" in output:
                self.say(next(line for line in output.splitlines() if "NO DEVICE" in line))
                self.say("nothing was run, and nothing is claimed")
                sys.exit(2)
            if status:
                wrong.append(job[0])
            elif status is None:
                wrong.append(f"{job[0]} (no end)")
        if on_trial:
            self.notes.append(f"{title}: {'green' if not wrong else 'RED: ' + ', '.join(wrong)}")
        else:
            self.parity.append((name, title, len(jobs), wrong, time.monotonic() - start))
        self.say(f"{name}: {'green' if not wrong else 'RED: ' + ', '.join(wrong)}")

    def bench(self, name, limit):
        status, took, output = self.run([sys.executable, HERE / "bench.py", name, self.rows], limit)
        print(f"==== {name}: status {status}, {took:.1f} s\n{output}", file=self.log, flush=True)
        if status != 0:
            self.notes.append(f"{name}: " + ("it took too long" if status is None else f"status {status}") + ", see log.txt")
        self.say(f"{name}: {took:.0f} s")


def find_libraries():
    """Where the system's loader does not look."""
    for variable, patterns in (("SSLC_LIBCUDA", ["/usr/local/nvidia/lib64/libcuda.so.1"]),
                               ("SSLC_NVRTC", [f"{p}/nvidia/*/lib/libnvrtc.so.1?" for p in sys.path] + ["/usr/local/cuda*/lib*/libnvrtc.so.1?"])):
        found = [x for pattern in patterns for x in sorted(glob.glob(pattern))]
        if variable not in os.environ and found:
            os.environ[variable] = found[0]


# -- the parts --------------------------------------------------------------------------------------------------------------------


def parity(r):
    tests = PACK / "bin/tests"
    r.together("ops", "bits of the interpreter", [(name, [tests, name, "-"]) for name in (["cuda"] if TINY else ["teams", "cuda", "backends"])], 120)
    if not TINY:
        r.together("wgmma", "products by wgmma (sm_90 alone)", [("teams", [tests, "teams", "-"], {"SSLC_WGMMA": "1", "SSLC_TMA": "0"})], 60, on_trial=True)
        r.together("tma", "and with operands by TMA", [(name, [tests, name, "-"], {"SSLC_WGMMA": "1"}) for name in ("teams", "boxes")], 60, on_trial=True)
    few = {"SSLC_RANDOM_GRAPHS": "1"} if TINY else {}
    graphs = [("graphs", [tests, "emulated", "random_graphs"], few), ("contractions", [tests, "emulated", "contractions"]), ("random ways", [tests, "metamorphic", "random_graphs*"])]
    r.together("graphs", "random graphs, contractions", graphs[:1] if TINY else graphs, 120)
    r.together("references", "steps against PyTorch in f64", [(x, [tests, "parity", f"{x}, emulated"]) for x in (TINY_REFERENCES if TINY else REFERENCES)], 120)
    examples = TINY_EXAMPLES if TINY else sorted(x.stem for x in (PACK / "examples").glob("*.ssl"))
    r.together("examples", "steps of examples, f64", [(x, [tests, "metamorphic", "*examples*"], {"SSLC_PROGRAM": f"{x}.ssl"}) for x in examples], 120)
    jobs = []
    for x in examples:
        program, text = PACK / "examples" / f"{x}.ssl", (PACK / "examples" / f"{x}.ssl").read_text()
        if "cifar" in text and not (PACK / "examples/data/cifar10").exists() or "input.txt" in text and not (PACK / "examples/input.txt").exists():
            continue
        settings = ["batch=16"] if "option batch " in text else []
        jobs.append((x, [sys.executable, HERE / "parity.py", PACK / "bin/libsslc.so", program, DEVICE, r.cache, *settings]))
    r.together("steps", "GPU and processor, f32", jobs, 120)


def number(x, scale=1.0, form="9.3f"):
    return f"{x * scale:{form}}" if x else f"{'-':>{form.split('.')[0]}}"


def table(r):
    rows = [json.loads(x) for x in r.rows.read_text().splitlines()]
    lines = [f"\n{'parity':<12}{'':<34}{'runs':>5}{'s':>7}"]
    for name, title, runs, wrong, took in r.parity:
        lines.append(f"{name:<12}{title:<34}{runs:>5}{took:7.0f}  {'green' if not wrong else 'RED: ' + ' '.join(wrong)}")
    shapes = [x for x in rows if x["part"] == "shapes"]
    if shapes:
        lines.append(f"\n{'products, convolutions':<46}{'type':<5}{'sslc ms':>9}{'TFLOP/s':>9}{'cuDNN ms':>9}{'ratio':>7}")
    for x in shapes:
        ours, theirs = x.get("sslc"), x.get("eager")
        lines.append(f"{x['name']:<46}{x['precision']:<5}{number(ours, 1e3)}{number(x['flops'] / ours / 1e12 if ours and x.get('flops') else None, 1, '9.1f')}"
                     f"{number(theirs, 1e3)}{number(theirs / ours if ours and theirs else None, 1, '7.2f')}")
    steps = [x for x in rows if x["part"] in ("a", "resnet", "vit", "g")]
    titles = {"a": "seed SimCLR, batch 256", "resnet": "ResNet-18 SimCLR, batch 512", "vit": "ViT-S Barlow Twins, batch 256", "g": "512 views, 256 to 224 px"}
    if steps:
        lines.append(f"\n{'a step':<36}{'type':<5}{'sslc ms':>9}{'img/s':>9}{'eager ms':>9}{'compile':>9}{'ratio':>7}")
    for x in steps:
        ours, best = x.get("sslc"), min((x[s] for s in ("eager", "compile") if x.get(s)), default=None)
        lines.append(f"{titles[x['part']]:<36}{x['precision']:<5}{number(ours, 1e3)}{number(x['batch'] / ours if ours else None, 1, '9.0f')}{number(x.get('eager'), 1e3)}"
                     f"{number(x.get('compile'), 1e3)}{number(best / ours if ours and best else None, 1, '7.2f')}")
    for x in rows:
        if x["part"] == "headline":
            rate = x["images"] * x["epochs"] / x["seconds"] if x["seconds"] else None
            lines.append(f"\nheadline, {x['system']}: {x['epochs']} epochs of {x['images']} images in {x['seconds']:.1f} s with evaluation, {number(rate, 1, '.0f')} img/s, "
                         f"GPU busy {number(x.get('busy'), 1, '.0f')} %")
            lines += [f"  {at:7.1f} s  {json.dumps(top1)}" for at, top1 in x["top1"][-3:]]
    lines += [f"note: {x}" for x in r.notes]
    green = r.parity and not any(wrong for _, _, _, wrong, _ in r.parity)
    lines.append(f"\nratio: how many times as long the fastest peer takes. parity is {'green' if green else 'NOT green'}; log: {OUT / 'log.txt'}")
    r.say("\n".join(lines))
    return green


def main():
    find_libraries()
    r = Runner()
    try:
        r.say(subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip())
    except OSError:
        r.say("nvidia-smi: not there")
    r.say(time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
    parity(r)
    for name, limit in (("resnet", 110), ("shapes", 90), ("vit", 110), ("a", 80), ("g", 60), ("headline", 120)):
        if not TINY or name in ("shapes", "g"):
            r.bench(name, limit)
    return 0 if table(r) else 1


if __name__ == "__main__":
    sys.exit(main())
