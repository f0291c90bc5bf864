#!/bin/sh
# On a machine with a GPU: unpacks what pack.sh made, beside which this lies, and runs all of it; the table comes last. No compiler, LLVM or cmake is
# needed, but Python 3, NVIDIA's driver and NVRTC; PyTorch for the peers. See run.py for settings; exit status 0: parity is green.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${SSLC_DEVICE_WORK:-$(mktemp -d)}
python3 - "$here/pack.tar.xz" "$work" <<'P'
import sys, tarfile
with tarfile.open(sys.argv[1]) as pack:
    pack.extractall(sys.argv[2])
P
exec python3 "$work/tests/device/run.py"
