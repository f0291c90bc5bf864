"""Figures of bench.py as tables of 80 columns."""
import platform

SYSTEMS = ["sslc", "eager", "compile", "jax"]
MIB = 2 ** 20


def machine():
    """The processor's name, and how busy the machine is with other work."""
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def unit(seconds):
    return (1e3, "ms") if seconds >= 0.01 else (1e6, "us")


def cell(value, form):
    return f"{value:{form}}" if value is not None else f"{'-':>{int(form.split('.')[0].rstrip(',') or 0)}}"


def of(row, system, key):
    return row["systems"].get(system, {}).get(key)


def show_time(rows):
    print(f"\n{'a step':<26}{'sslc':>8}{'eager':>9}{'compile':>9}{'jax':>9}  {'best/':>5}{'jax/':>6}{'floor':>7}")
    for row in rows:
        took = {name: of(row, name, "median") for name in SYSTEMS}
        ours = took["sslc"]
        scale, name = unit(ours)
        best = min((x for n, x in took.items() if n != "sslc" and x), default=None)
        cells = [cell(took[s] * scale if took[s] else None, "9.1f" if s != "sslc" else "8.1f") for s in SYSTEMS]
        print(f"{row['workload']:<5}{row['title'][:18]:<18} {name}{''.join(cells)}  {cell(best / ours if best else None, '5.2f')}"
              f"{cell(took['jax'] / ours if took['jax'] else None, '6.2f')}{cell(ours / row['floor'] if row['floor'] else None, '6.2f')}x")
    print("best/, jax/: how many times as long the fastest peer and JAX take. floor: how many\ntimes the time of its contractions alone sslc takes.")


def show_floor(found):
    print(f"\nfloor at {found['peak_flops'] / 1e9:.0f} GFLOP/s and {found['peak_bytes'] / 1e9:.1f} GB/s")
    for row in found["workloads"]:
        if row.get("floor"):
            scale, name = unit(row["floor"])
            print(f"{row['workload']:<5}{row['title']:<26}{row['flops'] / 1e9:10.2f} GFLOP {row['floor'] * scale:9.1f} {name}")


def show_memory(rows):
    print(f"\n{'MiB above the first step':<26}" + "".join(f"{s:>9}" for s in SYSTEMS) + f"{'ours/least':>12}   (and in all)")
    for row in rows:
        above = {s: of(row, s, "peak") and (of(row, s, "peak") - of(row, s, "before")) / MIB for s in SYSTEMS}
        whole = [f"{of(row, s, 'peak') / MIB:.0f}" if of(row, s, "peak") else "-" for s in SYSTEMS]
        least = min((x for s, x in above.items() if s != "sslc" and x), default=None)
        print(f"{row['workload']:<5}{row['title'][:21]:<21}" + "".join(cell(above[s], "9.0f") for s in SYSTEMS)
              + f"{cell(above['sslc'] / least if least else None, '6.2f')}  {' '.join(whole)}")


def show_compiling(rows):
    print(f"\n{'compiling, s':<26}{'cold':>8}{'warm':>8}{'kernels':>9}   torch.compile and JAX, first step")
    for row in rows:
        ours = row["systems"]["sslc"]
        peers = "  ".join(f"{s} {of(row, s, 'first_seconds'):.1f}" for s in ("compile", "jax") if of(row, s, "first_seconds"))
        print(f"{row['workload']:<5}{row['title'][:21]:<21}{ours['cold_seconds']:8.2f}{ours['warm_seconds']:8.2f}{ours['kernels']:>9}   {peers}")


def show_ways(rows):
    for row in rows:
        for system, facts in row["systems"].items():
            if "ways" in facts:
                ways = ", ".join(f"{way} {1e3 * seconds:.1f} ms" for way, seconds in facts["ways"].items())
                print(f"{row['workload']}: augmentation in {system} by the fastest of {ways}")


def show_shapes(rows, peak):
    if not rows:
        return
    print(f"\n{'products and convolutions':<44}{'sslc':>8}{'%peak':>7}{'oneDNN':>9}{'ours/':>7}")
    for row in rows:
        peer = row.get("peer_seconds")
        print(f"{row['name']:<44}{1e3 * row['seconds']:8.2f}{row['of_peak']:7.1f}{cell(peer and 1e3 * peer, '9.2f')}"
              f"{cell(peer and row['seconds'] / peer, '7.2f')} {row.get('way', '')}")


def show(found):
    rows = [row for row in found["workloads"] if "systems" in row]
    versions = ", ".join(f"{s} {of(row, s, 'version')}" for row in rows[:1] for s in SYSTEMS[1:] if of(row, s, "version"))
    print(f"{found['machine']}, {found['threads']} threads, medians of {found['rounds']} turns\n{versions}")
    if rows:
        show_time(rows)
        show_floor(found)
        show_memory(rows)
        show_compiling(rows)
        show_ways(rows)
    show_shapes(found["shapes"], found["peak_flops"])
    for row in found["workloads"]:
        if "disagreement" in row:
            print(f"{row['workload']}: NOT TIMED: {row['disagreement']}")
