"""How a measured system's process talks with bench.py: one request a line in, one answer a line out, both JSON.

A system is an object with a method for each request that it takes. Each has a process of its own, so that what it holds in memory
is its own; it waits on its input while others are timed.
"""
import json
import os
import statistics
import subprocess
import sys
import time
import traceback


def resident(name="VmRSS"):
    """Bytes of this process in memory now, or the most so far (VmHWM)."""
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def watch_memory(work):
    """Runs it: (its result, bytes in memory before it, the most while it ran)."""
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = resident()
    result = work()
    return result, before, resident("VmHWM")


def time_each(work, times):
    """Seconds of each call."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def serve(system):
    """Answers requests until the input ends. What libraries print goes to the errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"good": getattr(system, request.pop("do"))(**request)}
        except Exception:  # whatever it is, the bench shows it
            answer = {"error": traceback.format_exc(limit=-3)}
        print(json.dumps(answer), file=answers, flush=True)


class Process:
    """The other end: a system in its process. ask("time", steps=3) calls its method."""

    def __init__(self, python, script, environment, cpus):
        self.process = subprocess.Popen([python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cpus))

    def ask(self, do, **arguments):
        try:
            self.process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"].strip())
        return answer["good"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def median(values):
    return statistics.median(values)
