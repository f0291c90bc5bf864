"""Where the peers live: a scratch virtual environment outside of the repository, filled by pip as the user has set it up."""
import os
import pathlib
import subprocess
import sys
import venv

PACKAGES = ["torch", "torchvision", "jax", "pillow", "numpy"]
NEEDED = "import torch, torchvision, jax, PIL, numpy"


def default_folder():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "sslc-bench"


def has_peers(python):
    return subprocess.run([python, "-c", NEEDED], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def find_python(asked):
    """A Python that has the peers: the one that was asked for, or that of $SSLC_BENCH_PYTHON, or one that is made here."""
    given = asked or os.environ.get("SSLC_BENCH_PYTHON")
    if given:
        if not has_peers(given):
            sys.exit(f"{given} cannot `{NEEDED}`; install {' '.join(PACKAGES)} there, or leave --python out to have an environment made")
        return given
    folder = default_folder()
    python = str(folder / "bin" / "python")
    if not pathlib.Path(python).exists() or not has_peers(python):
        print(f"installing {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        if subprocess.run([python, "-m", "pip", "install", "--upgrade", *PACKAGES]).returncode:
            sys.exit("pip could not install the peers; use --python, or --skip eager,compile,jax to measure sslc alone")
    return python
