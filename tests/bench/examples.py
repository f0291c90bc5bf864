#!/usr/bin/env python3
"""Runs examples and writes what came of them into docs/examples.md: curves, figures, pictures.

    python3 tests/bench/examples.py simclr --data-root DIR             # examples/simclr.ssl, and its section of the page
    python3 tests/bench/examples.py gpt --data-root DIR --set epochs=2
    python3 tests/bench/examples.py mae --from runs/mae                # the section of a run that is there already

DIR is the root of the data, as for `sslc run`. Runs are kept in runs/NAME. Nothing but Python is needed.
"""
import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE, PICTURES = ROOT / "docs" / "examples.md", ROOT / "docs" / "pictures"
HEAD = """# Examples, run

Each section is one run of a program of `examples/`, made by the command that stands in it. "Before" is the same judgement of the
network as it was initialised. Curves of losses are means over stretches of the run.
"""
ORDER = ["simclr", "byol", "moco", "dcl", "mae", "gpt", "maml", "sinusoid", "gan"]  # the others follow by name
WIDTH, HEIGHT, LEFT, TOP, POINTS = 360, 200, 52, 26, 200


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


# -- curves -----------------------------------------------------------------------------------------------


def thinned(points):
    """At most POINTS points, each the mean of its stretch."""
    size = max(1, -(-len(points) // POINTS))
    stretches = [points[i:i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in s) / len(s), sum(y for _, y in s) / len(s)) for s in stretches]


def short(value):
    return f"{value:.4g}"


def curve(title, across, points):
    """A small picture of y over x, with the ends of both axes."""
    (x0, x1), (y0, y1) = [(min(v), max(v)) for v in zip(*points)]
    right, bottom = WIDTH - 12, HEIGHT - 24

    def at(x, y):
        u, v = (x - x0) / (x1 - x0 or 1), (y - y0) / (y1 - y0 or 1)
        return f"{LEFT + u * (right - LEFT):.1f},{bottom - v * (bottom - TOP):.1f}"

    def text(x, y, words, anchor):
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'

    marks = [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.2"/>' for p in (at(*p) for p in points)] if len(points) <= 40 else []
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11" fill="#555">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<path d="M{LEFT},{TOP}V{bottom}H{right}" fill="none" stroke="#aaa"/>',
        text(LEFT, TOP - 10, title, "start"), text(LEFT - 5, TOP + 4, short(y1), "end"), text(LEFT - 5, bottom, short(y0), "end"),
        text(LEFT, bottom + 15, short(x0), "middle"), text(right, bottom + 15, short(x1), "end"), text((LEFT + right) / 2, bottom + 15, across, "middle"),
        f'<polyline points="{" ".join(at(*p) for p in points)}" fill="none" stroke="#1f6fb4" stroke-width="1.6"/>',
        f'<g fill="#1f6fb4">{"".join(marks)}</g>', "</svg>", ""])


# -- a section --------------------------------------------------------------------------------------------


def title_of(program):
    """The first sentences of a program: its comment at the top."""
    lines = []
    for line in program.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].strip())
    return " ".join(lines)


def judgements(run):
    """What was judged, as (name, [(epoch, value)])."""
    found = {}
    for row in rows(run / "evaluation.jsonl"):
        for name, value in row.items():
            if name not in ("step", "epoch") and isinstance(value, (int, float)):
                found.setdefault(name, []).append((row["epoch"], value))
    return found


def figure(name, value):
    return f"{100 * value:.1f} %" if re.search(r"top\d|accuracy|probe", name) else f"{value:.4f}"


def table(judged):
    lines = ["| judged | before | after |", "|---|---|---|"]
    for name, values in judged.items():
        shown = name.replace("|", "\\|")
        lines.append(f"| {shown} | {figure(name, values[0][1]) if len(values) > 1 else ''} | {figure(name, values[-1][1])} |")
    return lines


def draw(name, run, judged):
    """Writes the pictures of a run; their names."""
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob(f"{name}_*"):
        old.unlink()
    made = []
    losses = [(row["step"], row["loss"]) for row in rows(run / "metrics.jsonl") if row.get("loss") is not None]
    curves = [("loss", "loss", "step", thinned(losses))] if len(losses) > 1 else []
    wanted = [n for n in judged if len(judged[n]) > 2 and not n.endswith("top5")]
    curves += [(f"judged_{i + 1}", n, "epoch", judged[n]) for i, n in enumerate(wanted)]
    for short_name, title, across, points in curves:
        made.append(f"{name}_{short_name}.svg")
        escaped = title.replace("&", "&amp;").replace("<", "&lt;")
        (PICTURES / made[-1]).write_text(curve(escaped, across, points))
    latest = {}
    for picture in sorted(run.glob("*.png")):
        latest[re.sub(r"-\d+$", "", picture.stem)] = picture
    for stem, picture in latest.items():
        made.append(f"{name}_{stem}.png")
        shutil.copyfile(picture, PICTURES / made[-1])
    return made


def section(name, run, command, minutes):
    judged = judgements(run)
    steps = rows(run / "metrics.jsonl")
    if not steps:
        sys.exit(f"{run} holds no run: there is no metrics.jsonl")
    lines = [f"## {name}", title_of(ROOT / "examples" / f"{name}.ssl"), "", "```", command, "```", ""]
    took = f" in {minutes:.1f} minutes, judging included" if minutes else ""
    lines += [f"{steps[-1]['step']:,} steps{took}; the loss went from {short(steps[0]['loss'])} to {short(steps[-1]['loss'])}.", ""]
    lines += table(judged) + [""] if judged else []
    lines += [" ".join(f"![{p}](pictures/{p})" for p in draw(name, run, judged)), ""]
    for text in sorted(run.glob("*.txt")):
        lines += ["", "```", text.read_text(errors="replace").rstrip(), "```", ""]
    return "\n".join(lines)


def place(name, text):
    """Puts a section into the page, in place of the one of that name."""
    old = PAGE.read_text() if PAGE.exists() else HEAD
    head, *parts = re.split(r"^(?=## )", old, flags=re.M)
    sections = {part.split("\n", 1)[0][3:]: part for part in parts} | {name: text}
    rank = {n: i for i, n in enumerate(ORDER)}
    ordered = sorted(sections, key=lambda n: (rank.get(n, len(ORDER)), n))
    PAGE.write_text(head.rstrip("\n") + "\n\n" + "\n\n".join(sections[n].rstrip("\n") for n in ordered) + "\n")


def train(command, run):
    """Shows what the run prints, and keeps the last text that the model has written: lines behind a bar."""
    written, before = [], ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.lstrip().startswith("| "):
                written = (written if before.lstrip().startswith("| ") else []) + [line.lstrip()[2:]]
            before = line
    if process.returncode:
        sys.exit(process.returncode)
    if written:
        (run / "generated.txt").write_text("".join(written))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a program of examples/, without .ssl")
    parser.add_argument("--data-root", help="where the data is")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--sslc", default="build/sslc")
    parser.add_argument("--from", dest="kept", help="a run that is there: nothing is trained")
    asked = parser.parse_args()
    program = f"examples/{asked.name}.ssl"
    if not (ROOT / program).exists():
        sys.exit(f"there is no {program}")
    settings = [word for setting in asked.set for word in ("--set", setting)]
    shown = ["python3", "tests/bench/examples.py", asked.name] + (["--data-root", "DIR"] if asked.data_root else []) + settings
    run, minutes = pathlib.Path(asked.kept or ROOT / "runs" / asked.name), None
    if not asked.kept:
        shutil.rmtree(run, ignore_errors=True)
        root = ["--data-root", asked.data_root] if asked.data_root else []
        start = time.monotonic()
        train([asked.sslc, "run", program, *root, *settings, "--threads", asked.threads, "--out", str(run)], run)
        minutes = (time.monotonic() - start) / 60
    place(asked.name, section(asked.name, run, shlex.join(shown), minutes))


if __name__ == "__main__":
    main()
