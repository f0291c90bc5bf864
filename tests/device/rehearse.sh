# Packs, and runs what was packed as on another machine: in an empty environment, without our tools; without a device, on stand-ins for NVIDIA's
# libraries, which run kernels on the processor and want a C compiler for that, and on a device that fails.
#   sh rehearse.sh BUILD
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $1"
  tail -50 "$work/out" 2>/dev/null || true
  tail -50 "$work/found/log.txt" 2>/dev/null || true
  exit 1
}
XZ_LEVEL=0 sh "$source/tests/device/pack.sh" "$build" >"$work/out" 2>&1 || fail "pack.sh"
mkdir "$work/bin" "$work/there"
for tool in sh python3 dirname mktemp cc as ld; do ln -s "$(command -v $tool)" "$work/bin"; done

# run STATUS SECONDS [NAME=VALUE...]
run() {
  wanted=$1 seconds=$2
  shift 2
  got=0
  rm -rf "$work/found" "$work/there"
  mkdir "$work/there"
  (cd "$work" && env -i PATH="$work/bin" HOME="$work" TMPDIR="$work" SSLC_DEVICE_WORK="$work/there" OUT="$work/found" SSLC_DEVICE_REHEARSAL=1 SSLC_DEVICE_SECONDS="$seconds" "$@" \
    sh "$build/device/run.sh") >"$work/out" 2>&1 || got=$?
  [ "$got" = "$wanted" ] || fail "status $got, not $wanted"
}
says() { grep -Eq -- "$1" "$work/out" || fail "'$1' is not in the output"; }

run 2 60 SSLC_LIBCUDA=/nowhere/libcuda.so.1
says "^NO DEVICE: cuda: .*/nowhere/libcuda.so.1"
says "nothing is claimed"
for file in tests libsslc.so; do
  [ "$(objdump -p "$work/there/bin/$file" | grep -c 'NEEDED .*\(LLVM\|stdc++\|z3\)')" = 0 ] || fail "$file needs libraries of the compiler"
  newest=$(objdump -T "$work/there/bin/$file" "$work/there"/bin/lib/* | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -1)
  [ "$(printf '%s\n2.36\n' "$newest" | sort -V | tail -1)" = 2.36 ] || fail "$file needs glibc $newest"
done

on_stand_ins="SSLC_LIBCUDA=$build/libstand_in_cuda.so SSLC_NVRTC=$build/libstand_in_nvrtc.so"
# shellcheck disable=SC2086 # words
run 0 900 $on_stand_ins
for part in ops graphs references examples steps; do says "^$part .* green"; done
says "^product 64x64x64 +bf16 +[0-9.]+ "
says "^product 64x64x64 +f32 +[0-9.]+ "
says "^512 views, 256 to 224 px +f32 +[0-9.]+ +[0-9]+ "
says "parity is green"
# shellcheck disable=SC2086
run 1 30 $on_stand_ins SSLC_STAND_IN_FAILS=cuLaunchKernel:1
says "^ops .* RED: cuda"
says "^note: shapes: "
says "parity is NOT green"
