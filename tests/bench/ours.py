"""sslc's side of the bench: programs through the library's own interface (frontend/sslc.h). Python's own library is all it needs."""
import array
import ctypes
import math
import os
import pathlib
import random
import struct
import sys
import time

from protocol import serve, time_each, watch_memory

REALS = {"f32": 6, "bf16": 5, "tf32": 8}  # of sslc_type
SIZES = [1, 1, 4, 4, 8, 2, 4, 8]  # of sslc_type: bool u8 i32 u32 i64 bf16 f32 f64
U8, I32, F32 = 1, 2, 6
INPUT, STATE = 0, 1  # sslc_kind


def structure(name, *declared):
    """Fields as the header declares them: (type, "name name ...")."""
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for kind, fields in declared for field in fields.split()]})


text, count, size, real, pointer = ctypes.c_char_p, ctypes.c_int64, ctypes.c_size_t, ctypes.c_double, ctypes.c_void_p
number, flag = ctypes.c_uint, ctypes.c_int
Override = structure("Override", (text, "name text"))
Array = structure("Array", (text, "data split field"), (flag, "type"), (number, "rank"), (count * 8, "shape"), (count, "classes count"), (pointer, "values"))
Options = structure("Options", (ctypes.POINTER(Override), "overrides"), (size, "n_overrides"), (text, "data_root"), (ctypes.POINTER(Array), "arrays"),
                    (size, "n_arrays"), (pointer, "seed"), (number, "threads"), (flag, "real"), (text, "cache schedules"), (count, "memory"), (flag, "checked"), (text, "device"))
Facts = structure("Facts", (count, "parameters peak_bytes temporary_bytes live_bytes batch steps steps_per_epoch epochs step"), (number, "kernels compiled"), (real, "compile_seconds"), (text, "device"),
                  (count, "device_bytes device_free_bytes"), (text, "passed_over"))
Tensor = structure("Tensor", (text, "name"), (flag, "type"), (number, "rank"), (count * 8, "shape"), (size, "bytes"))
Score = structure("Score", (text, "features protocol measure"), (real, "value"), (flag, "is_fraction"), (text, "text"))
Launch = structure("Launch", (text, "kernel file"), (number, "line"), (text, "part"), (real, "seconds flops bytes"))
Profile = structure("Profile", (ctypes.POINTER(Launch), "launches"), (size, "n"), (count, "steps"), (real, "step_seconds data_seconds"), (number, "threads"),
                    (real, "peak_flops peak_bytes floor_seconds"), (text, "device"))


def picture(generator, channels, height, width):
    """Waves of random direction, so that pictures differ as much as pictures do."""
    found = bytearray()
    for _ in range(channels):
        u, v, phase, level = generator.uniform(-0.5, 0.5), generator.uniform(-0.5, 0.5), generator.uniform(0, 6.3), generator.uniform(60, 195)
        found += bytes(int(level + 60 * math.sin(u * y + v * x + phase)) for y in range(height) for x in range(width))
    return bytes(found)


class Program:
    """A compiled program."""

    def __init__(self, library, path, threads, cache, settings=None, arrays=(), precision="f32", device="cpu", data_root=None):
        self.sslc = ctypes.CDLL(library)
        self.sslc.sslc_message.restype = text
        self.sslc.sslc_metric.restype = real
        self.handle = pointer()
        settings = settings or {}
        overrides = (Override * len(settings))(*[Override(k.encode(), str(v).encode()) for k, v in settings.items()])
        self.arrays = (Array * len(arrays))(*arrays)
        options = Options(overrides=overrides, n_overrides=len(settings), arrays=self.arrays, n_arrays=len(arrays), threads=threads, cache=cache.encode(), real=REALS[precision],
                          device=device.encode(), data_root=data_root.encode() if data_root else None)
        start = time.perf_counter()
        self.call("compile_file", str(path).encode(), ctypes.byref(options), ctypes.byref(self.handle), bare=True)
        self.seconds = time.perf_counter() - start

    def call(self, name, *arguments, bare=False):
        if getattr(self.sslc, "sslc_" + name)(*(() if bare else (self.handle,)), *arguments):
            raise RuntimeError(self.sslc.sslc_message(self.handle).decode())

    def facts(self):
        facts = Facts()
        self.call("get_facts", ctypes.byref(facts))
        return facts

    def tensors(self, kind):
        found, i = [], 0
        tensor = Tensor()
        while self.sslc.sslc_describe(self.handle, kind, ctypes.c_size_t(i), ctypes.byref(tensor)):
            found.append((tensor.name, tensor.type, list(tensor.shape[:tensor.rank]), tensor.bytes))
            i += 1
        return found

    def state(self, name):
        size_of = next(bytes_ for found, _, _, bytes_ in self.tensors(STATE) if found == name.encode())
        values = ctypes.create_string_buffer(size_of)
        self.call("get", name.encode(), values, ctypes.c_size_t(size_of))
        return values

    def run(self, steps=1):
        self.call("run", count(steps))


def dump(path, kind, shape, values):
    """An array as NumPy reads it."""
    descr = {U8: "|u1", I32: "<i4", F32: "<f4"}[kind]
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    head = head.ljust((len(head) + 10 + 64) // 64 * 64 - 11) + "\n"
    pathlib.Path(path).write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + bytes(values))


def inputs_for(shape, kind, generator):
    """Pictures, or symbols below 256."""
    if kind == U8 and len(shape) == 4:
        return b"".join(picture(generator, *shape[1:]) for _ in range(shape[0]))
    symbols = generator.choices(range(256), k=math.prod(shape))
    return bytes(symbols) if kind == U8 else array.array("i", symbols).tobytes()


class Ours:
    def open(self, library, program, settings, threads, cache, scratch, precision):
        """Compiles; what is known then. The states begin, so that memory counts what the first step adds."""
        self.scratch = pathlib.Path(scratch)
        self.name = pathlib.Path(program).stem
        arrays = self.bank(library, program, settings, threads, cache) if self.name == "h" else []
        self.program = Program(library, program, threads, cache, settings if self.name != "h" else {}, arrays, precision)
        self.program.call("initialise")
        facts = self.program.facts()
        return {"compile_seconds": self.program.seconds, "kernels": facts.kernels, "compiled": facts.compiled, "planned": facts.peak_bytes,
                "parameters": facts.parameters, "version": "sslc"}

    def bank(self, library, program, settings, threads, cache):
        """Features for nearest neighbours, made by sslc itself, for the peers too."""
        made = Program(library, pathlib.Path(program).with_name("bank.ssl"), threads, cache, settings)
        made.run()
        found = []
        for split in ("train", "test"):
            for field, kind in (("x", F32), ("label", I32)):
                name = f"{split}_{field}"
                values = made.state(name)
                shape = next(shape for found_name, _, shape, _ in made.tensors(STATE) if found_name == name.encode())
                dump(self.scratch / f"{name}.npy", kind, shape, values)
                found.append(Array(b"bank", split.encode(), field.encode(), kind, len(shape) - 1, (count * 8)(*shape[1:]), 10 if kind == I32 else 0,
                                   shape[0], ctypes.cast(values, pointer)))
                self.kept = getattr(self, "kept", []) + [values]
        made.sslc.sslc_free(made.handle)
        return found

    def begin(self):
        """The first weights and a batch, as files for the peers."""
        self.program.call("save", str(self.scratch / f"{self.name}.safetensors").encode())
        generator, self.batch = random.Random(1), []
        for name, kind, shape, size_of in self.program.tensors(INPUT):
            values = inputs_for(shape, kind, generator)
            dump(self.scratch / f"{self.name}_{name.decode()}.npy", kind, shape, values)
            self.batch.append((name, values, size_of))

    def step(self):
        """A step on that batch."""
        for name, values, size_of in self.batch:
            self.program.call("set", INPUT, name, values, size(size_of))
        self.program.call("step")

    def steps(self, steps):
        """Losses of the first steps on that batch, and what memory they took."""
        def work():
            found = []
            for _ in range(steps):
                self.step()
                found.append(self.program.sslc.sslc_metric(self.program.handle, b"loss"))
            return found

        losses, before, peak = watch_memory(work)
        return {"losses": losses, "before": before, "peak": peak}

    def first(self, steps):
        """The first steps as they are timed, and what memory they took."""
        results, before, peak = watch_memory(lambda: [self.once() for _ in range(steps)])
        return {"result": results[-1], "before": before, "peak": peak}

    def once(self):
        return self.judge() if self.name == "h" else self.program.run()

    def time(self, steps):
        return time_each(self.once, steps)

    def views(self, rounds):
        """Augmented pictures of that batch, several rounds, as a file."""
        found = bytearray()
        for _ in range(rounds):
            self.step()
            found += bytes(self.program.state("kept"))
        shape = next(shape for name, _, shape, _ in self.program.tensors(STATE) if name == b"kept")
        dump(self.scratch / "views.npy", F32, [rounds * shape[0]] + shape[1:], found)

    def judge(self):
        """The share of neighbours' votes that are right."""
        scores, n = ctypes.POINTER(Score)(), size()
        self.program.call("evaluate", None, ctypes.byref(scores), ctypes.byref(n))
        return next(scores[i].value for i in range(n.value) if scores[i].measure == b"top1")

    def profile(self, steps):
        """Work and time of every launch, and what the machine can do."""
        found = Profile()
        self.program.call("profile_steps", count(steps), ctypes.byref(found))
        launches = [found.launches[i] for i in range(found.n)]
        rows = [[x.kernel.decode(), x.line, x.part.decode(), x.seconds, x.flops, x.bytes] for x in launches]
        return {"peak_flops": found.peak_flops, "peak_bytes": found.peak_bytes, "seconds": found.step_seconds, "launches": rows}


if __name__ == "__main__":
    serve(Ours())
