#!/bin/sh
# Makes build/device/: run.sh and pack.tar.xz, all that a machine with a GPU is given. At most 60 MB.
#   sh tests/device/pack.sh [BUILD [CIFAR10 [IMAGES]]]
# BUILD: the build folder (build). CIFAR10: a folder with data_batch_1.bin and test_batch*.bin, plain or .xz, of which the first IMAGES (8000) and a
# quarter as many test images are taken; without it there is no headline. XZ_LEVEL (6).
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$source/build}" && pwd)
cifar=${2:-}
images=${3:-8000}
limit=60000000
cmake --build "$build" --target alone -j "$(nproc)" >/dev/null
pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
mkdir -p "$pack/bin/lib" "$pack/tests/reference" "$pack/tests/device"
cp "$build/alone/tests" "$build/alone/libsslc.so" "$pack/bin"
ln -s tests "$pack/bin/sslc"
# Libraries that are not part of the system's C library travel along.
for file in tests libsslc.so; do
  ldd "$build/alone/$file" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | grep -Ev '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | while read -r library; do cp -L "$library" "$pack/bin/lib"; done
done
cp -R "$source/examples" "$pack"
cp -R "$source/tests/reference/steps" "$pack/tests/reference"
cp -R "$source/tests/bench" "$pack/tests"
cp -R "$source/tests/device/"*.py "$source/tests/device/workloads" "$pack/tests/device"
find "$pack" -name __pycache__ -type d -prune -exec rm -r {} +
share() { # FILE BYTES: the beginning of it, wherever it is packed
  for file in $1; do
    [ -f "$file" ] || continue
    case $file in *.xz) xz -dc "$file" ;; *) cat "$file" ;; esac | head -c "$2"
    return
  done
}
if [ -n "$cifar" ]; then
  mkdir -p "$pack/data/cifar10" "$pack/examples/data"
  share "$cifar/data_batch_1.bin*" $((images * 3073)) >"$pack/data/cifar10/data_batch_1.bin"
  share "$cifar/test_batch*" $((images / 4 * 3073)) >"$pack/data/cifar10/test_batch.bin"
  ln -s ../../data/cifar10 "$pack/examples/data/cifar10"
fi
rm -rf "$build/device"
mkdir "$build/device"
cp "$source/tests/device/run.sh" "$build/device"
tar -C "$pack" -cf - . | xz -T0 "-${XZ_LEVEL:-6}" >"$build/device/pack.tar.xz"
size=$(cat "$build/device/"* | wc -c)
echo "build/device: $size bytes, at most $limit"
[ "$size" -le "$limit" ]
