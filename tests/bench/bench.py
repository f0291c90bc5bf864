#!/usr/bin/env python3
"""sslc beside PyTorch and JAX: the same training steps, on this machine, in one run.

    python3 tests/bench/bench.py                                # everything
    python3 tests/bench/bench.py --workload a,c --rounds 3      # some of it, quickly
    python3 tests/bench/bench.py --skip jax,compile --json      # fewer peers, for programs
    python3 tests/bench/bench.py --check                        # sslc alone, tiny: does every program still compile and step?

Workloads: a b c d e f g32 g224 h, and `shapes`, products and convolutions one by one. README.md beside this file says how it measures.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import environment
import shapes
import table
from protocol import Process, median
from workloads import KNN_FLOPS, KNN_TOLERANCE, STEPS, TOLERANCE, VIEWS, VIEWS_TOLERANCE, WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
PEERS = {"eager": ("peers_torch.py", False), "compile": ("peers_torch.py", True), "jax": ("peers_jax.py", True)}
TURN_SECONDS, MOST_STEPS = 1.0, 100  # of a system's turn


class Disagreement(Exception):
    pass


class Bench:
    def __init__(self, asked, scratch):
        self.asked, self.scratch = asked, scratch
        self.skipped = set(filter(None, asked.skip.split(",")))
        self.peers = [] if asked.check else [name for name in PEERS if name not in self.skipped]
        self.python = environment.find_python(asked.python) if self.peers else sys.executable
        self.cpus = set(sorted(os.sched_getaffinity(0))[:asked.threads])
        self.agreed, self.peak_flops, self.peak_bytes = set(), 0, 0

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def start(self, script, python=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        return Process(python or sys.executable, HERE / script, clean, self.cpus)

    # -- the systems of a workload --

    def open_ours(self, w, folder):
        """Compiled twice: with an empty cache, and again with what that left; the second one is measured."""
        settings = w.tiny if self.asked.check else w.settings
        request = dict(library=str(pathlib.Path(self.asked.library).resolve()), program=str(HERE / "workloads" / f"{w.program}.ssl"), settings=settings,
                       threads=self.asked.threads, cache=str(folder / "cache"), scratch=str(folder), precision=self.asked.precision)
        first = self.start("ours.py")
        cold = first.ask("open", **request)
        first.close()
        ours = self.start("ours.py")
        warm = ours.ask("open", **request)
        facts = cold | {"cold_seconds": cold["compile_seconds"], "warm_seconds": warm["compile_seconds"], "warm_compiled": warm["compiled"]}
        if w.program != "h":
            ours.ask("begin")
        return ours, facts

    def open_peer(self, name, w, folder):
        script, compiled = PEERS[name]
        peer = self.start(script, self.python)
        return peer, peer.ask("open", workload=w.program, threads=self.asked.threads, scratch=str(folder), compiled=compiled, size=w.size)

    # -- agreement --

    def losses(self, w, systems):
        """Those of the first steps; also what memory they took."""
        found = {name: system.ask("steps", steps=STEPS) for name, system in systems.items()}
        ours = found["sslc"]["losses"]
        for name, answer in found.items():
            if any(abs(a - b) > TOLERANCE[self.asked.precision] * abs(a) or a != a for a, b in zip(ours, answer["losses"])):
                raise Disagreement(f"losses of {name} are {answer['losses']}, those of sslc {ours}")
        self.say(f"  losses agree: {', '.join(f'{x:.6f}' for x in ours)}")
        return found

    def distributions(self, w, systems):
        found = {name: system.ask("first", steps=STEPS) for name, system in systems.items()}
        rounds = 1 if self.asked.check else VIEWS // w.settings.get("views", 512) // (w.size // 32) ** 2 + 1
        systems["sslc"].ask("views", rounds=rounds)
        for name, system in systems.items():
            if name == "sslc":
                continue
            distance = system.ask("views", rounds=rounds)
            self.say(f"  views of {name} and sslc differ by {distance:.1f} standard errors at most")
            if distance > VIEWS_TOLERANCE:
                raise Disagreement(f"views of {name} are distributed otherwise: by {distance:.1f} standard errors")
        return found

    def neighbours(self, w, systems):
        found = {name: system.ask("first", steps=1) for name, system in systems.items()}
        right = {name: answer["result"] for name, answer in found.items()}
        self.say(f"  right: {', '.join(f'{name} {value:.4f}' for name, value in right.items())}")
        if max(right.values()) - min(right.values()) > KNN_TOLERANCE:
            raise Disagreement(f"the shares that are right differ: {right}")
        return found

    def agree(self, w, systems):
        """What memory the first steps took, of systems that do the same; Disagreement of others."""
        if w.checked_by and not self.asked.check:
            for name in set(w.checked_by) - self.agreed:
                self.measure(next(x for x in WORKLOADS if x.name == name), only_check=True)
        if w.checked_by:
            return {name: system.ask("first", steps=STEPS) for name, system in systems.items()}
        check = {"g": self.distributions, "h": self.neighbours}.get(w.program, self.losses)
        found = check(w, systems)
        self.agreed.add(w.name)
        return found

    # -- time --

    def time(self, systems):
        """Seconds of steps, the systems taking turns, each behind a step that does not count where steps are short."""
        steps = {}
        for name, system in systems.items():
            steps[name] = max(1, min(MOST_STEPS, round(TURN_SECONDS / system.ask("time", steps=1)[0])))
        found = {name: [] for name in systems}
        for turn in range(self.asked.rounds):
            order = list(systems)[turn % len(systems):] + list(systems)[:turn % len(systems)]
            for name in order:
                idle = steps[name] > 1
                found[name] += systems[name].ask("time", steps=steps[name] + idle)[idle:]
        return found

    def profile(self, w, ours):
        """Where sslc's time goes, and what its contractions need at least."""
        found = ours.ask("profile", steps=3)
        self.peak_flops, self.peak_bytes = max(self.peak_flops, found["peak_flops"]), max(self.peak_bytes, found["peak_bytes"])
        launches = [[0, KNN_FLOPS, 0]] if w.program == "h" else [x[3:] for x in found["launches"]]
        return found["launches"], launches

    def floor(self, work):
        """Contractions at the machine's peak, or what they must move where that takes longer, and nothing else."""
        return sum(max(flops / self.peak_flops, moved / self.peak_bytes) for _, flops, moved in work if flops > 0)

    # -- a workload --

    def measure(self, w, only_check=False):
        self.say(f"{w.name}: {w.title}" + (" (to see that all agree)" if only_check else ""))
        folder = self.scratch / (w.name + ("-check" if only_check else ""))
        folder.mkdir(parents=True)
        ours, facts = self.open_ours(w, folder)
        systems, all_facts, row = {"sslc": ours}, {"sslc": facts}, {"workload": w.name, "title": w.title}
        try:
            for name in self.peers:
                try:
                    systems[name], all_facts[name] = self.open_peer(name, w, folder)
                except RuntimeError as error:
                    self.say(f"  {name}: {error}")
                    row.setdefault("failed", {})[name] = str(error)
            memory = self.agree(w, systems)
            if not only_check and not self.asked.check:
                row |= self.rows(w, systems, all_facts, memory)
        except Disagreement as error:
            self.say(f"  NOT TIMED: {error}")
            row["disagreement"] = str(error)
        finally:
            for system in systems.values():
                system.close()
        return row

    def rows(self, w, systems, facts, memory):
        seconds = self.time(systems)
        launches, work = self.profile(w, systems["sslc"])
        found = {"systems": {}, "launches": launches, "work": work, "flops": sum(x[1] for x in work)}
        for name in systems:
            found["systems"][name] = facts[name] | {"median": median(seconds[name]), "seconds": seconds[name]} | memory[name]
        return found

    def run(self):
        chosen = self.asked.workload.split(",") if self.asked.workload else [w.name for w in WORKLOADS] + ([] if self.asked.check else ["shapes"])
        known = {w.name: w for w in WORKLOADS}
        for name in set(chosen) - set(known) - {"shapes"}:
            sys.exit(f"there is no workload {name}; there are {', '.join(known)} and shapes")
        rows = [self.measure(known[name]) for name in chosen if name in known]
        for row in rows:
            if "work" in row:
                row["floor"] = self.floor(row.pop("work"))
        one_by_one = shapes.measure(self, self.asked) if "shapes" in chosen else []
        return {"threads": self.asked.threads, "rounds": self.asked.rounds, "machine": table.machine(), "peak_flops": self.peak_flops,
                "peak_bytes": self.peak_bytes, "workloads": rows, "shapes": one_by_one}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="", help="some of them, with commas between")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every system; each is kept to so many processors")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each system (5)")
    parser.add_argument("--skip", default="", help="of eager, compile, jax")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"], help="of sslc; peers stay in f32, and floors are those of f32")
    parser.add_argument("--library", default=str(HERE.parents[1] / "build" / "libsslc.so"), help="what is measured (build/libsslc.so)")
    parser.add_argument("--python", help="one that has torch, torchvision and jax; else $SSLC_BENCH_PYTHON, or an environment that is made")
    parser.add_argument("--json", action="store_true", help="everything that was measured, for programs")
    parser.add_argument("--check", action="store_true", help="only see that sslc compiles and takes the steps, at tiny sizes")
    asked = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="sslc-bench-"))
    try:
        found = Bench(asked, scratch).run()
    except RuntimeError as error:
        sys.exit(f"{parser.prog}: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if asked.json:
        print(json.dumps(found))
    elif not asked.check:
        table.show(found)
    sys.exit(any("disagreement" in row for row in found["workloads"]))


if __name__ == "__main__":
    main()
