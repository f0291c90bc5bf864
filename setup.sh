#!/bin/sh
# Installs what is missing, builds, and runs or tests. Debian 12 or newer; installing needs root.
#   sh setup.sh run       build, then train and judge SimCLR on the images that ship with sslc
#   sh setup.sh build     the command, the libraries and the test programs, in build/
#   sh setup.sh test      build, then the whole suite, also under the sanitizers
set -eu
cd "$(dirname "$0")"

packages="gcc cmake make flex bison libfl-dev llvm-19-dev zlib1g-dev libpng-dev libcjson-dev libcmocka-dev"

install_missing() {
  missing=""
  for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "setup.sh: missing packages:$missing" >&2
    echo "install them as root: apt-get install$missing" >&2
    exit 1
  fi
  echo "installing:$missing"
  apt-get update -q
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

build() {
  cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" -j "$(nproc)"
}

# Tests compile kernels for GPUs, which takes no GPU but NVRTC: that of the machine, else one of Python's packages, in build/nvrtc.
find_nvrtc() {
  for library in "${SSLC_NVRTC:-}" "${CUDA_HOME:-/usr/local/cuda}"/lib64/libnvrtc.so build/nvrtc/nvidia/cu13/lib/libnvrtc.so.13; do
    [ -f "$library" ] || continue
    SSLC_NVRTC=$(realpath "$library")
    export SSLC_NVRTC
    return
  done
  packages="python3 python3-pip"
  install_missing
  python3 -m pip download -q --no-deps --only-binary :all: -d build/nvrtc nvidia-cuda-nvrtc==13.0.88
  python3 -m zipfile -e build/nvrtc/nvidia_cuda_nvrtc-*.whl build/nvrtc
  SSLC_NVRTC=$PWD/build/nvrtc/nvidia/cu13/lib/libnvrtc.so.13
  export SSLC_NVRTC
}

case "${1:-}" in
  run)
    install_missing
    build release
    build/sslc run examples/fashion.ssl
    ;;
  build)
    install_missing
    build release
    ;;
  test)
    install_missing
    build release
    find_nvrtc
    ctest --preset release -j "$(nproc)"
    build sanitize
    ctest --preset sanitize -j "$(nproc)"
    ;;
  *)
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
