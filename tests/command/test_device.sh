# sslc --device: a run on a GPU that stand-ins for driver and compiler make of this processor is the run on the processor, to the rounding of
# f32 and with the same pictures; checkpoints go from one to the other; what is missing, too small or failing is said, and keeps the last checkpoint.
. "$2/tests/command/command.sh"
program=$2/tests/command/device.ssl
build=$(dirname "$sslc")
driver=$build/libstand_in_cuda.so compiler=$build/libstand_in_nvrtc.so
export SSLC_LIBCUDA="$driver" SSLC_NVRTC="$compiler"
unset SSLC_DEVICE

# close A B TOLERANCE: metrics of two runs, the same lines with numbers that agree.
close() {
  tr '{},:' '    ' <"$1" >a && tr '{},:' '    ' <"$2" >b
  [ "$(wc -l <a)" = "$(wc -l <b)" ] || fail "$1 and $2 have other lines"
  paste -d ' ' a b | awk -v tolerance="$3" '
    { for (i = 1; i <= NF / 2; i++) {
        x = $i; y = $(i + NF / 2)
        if (x ~ /^"/) { if (x != y) exit 1; continue }
        d = x - y; m = x < 0 ? -x : x
        if (d > tolerance * (1 + m) || -d > tolerance * (1 + m)) { print "line " NR ": " x " and " y; exit 1 } } }' >out 2>err || fail "$1 and $2 are apart"
}

# What there is.
status 0 info
says "sslc "
says "cuda:1     stand-in 1, sm_80, 64.0 MiB, 64.0 MiB of them free"
says "$compiler"
[ "$(awk 'length > 80 && NF > 1' out | grep -vc "$compiler")" = 0 ] || fail "a line of info is longer than 80 columns"
status 0 info --json
says '"capability":	80'
SSLC_LIBCUDA=/nowhere/libcuda.so.1 SSLC_NVRTC=/nowhere/libnvrtc.so status 0 info
says "/nowhere/libcuda.so.1"
says "/nowhere/libnvrtc.so"
SSLC_LIBCUDA=/nowhere/libcuda.so.1 status 1 run --device cuda "$program"
complains "error[E0605]"
complains "/nowhere/libcuda.so.1"
complains "--device cpu"
SSLC_NVRTC=/nowhere/libnvrtc.so status 1 run --device cuda "$program"
complains "/nowhere/libnvrtc.so"
status 1 run --device cuda:2 "$program"
complains "there is no cuda:2: the driver sees 2 devices"
for wrong in gpu cuda: cuda:x cuda:-1 cuda:1x; do
  status 2 run --device $wrong "$program"
  complains "--device takes auto, cpu, cuda or cuda:N, got $wrong"
done
status 1 run --device cuda --checked "$program"
complains "on processors only"
status 1 tune --device cuda "$program"
complains "schedules of GPUs"
status 0 emit --device cuda --stage cuda "$program"
says "KERNEL void"
status 2 emit --device cuda --arch sm_90 --stage cuda "$program"
complains "leave --arch or --device out"

# What auto is: a GPU that can be used and that the program fits. Of one that is there and is not used, that is said; of none, nothing.
status 0 check "$program"
says "cuda:0, stand-in 0, sm_80: "
status 0 check --device auto "$program"
says "cuda:0, stand-in 0, sm_80: "
SSLC_NVRTC=/nowhere/libnvrtc.so status 0 check "$program"
says "on this processor; not on cuda:0: NVRTC, the compiler of the CUDA toolkit, was not found. Looked for: /nowhere/libnvrtc.so"
SSLC_STAND_IN_MIB=0 status 0 check "$program"
says "on this processor; not on cuda:0, stand-in 0, sm_80: this program takes "
SSLC_STAND_IN_FAILS=cuMemGetInfo_v2:1 status 0 check "$program"
says "on this processor; not on cuda:0: made to fail"
for unused in SSLC_LIBCUDA=/nowhere/libcuda.so.1 SSLC_STAND_IN_FAILS=cuInit:1 SSLC_DEVICE=cpu; do
  export "$unused"
  status 0 check "$program"
  [ "$(grep -c 'cuda\|processor' out err)" = "out:0
err:0" ] || fail "$unused: there is nothing to say about GPUs"
  unset "${unused%%=*}"
  export SSLC_LIBCUDA="$driver"
done
SSLC_DEVICE=cuda:1 status 0 check "$program"
says "cuda:1, stand-in 1, sm_80: "
SSLC_DEVICE=gpu status 2 check "$program"
complains "--device takes auto, cpu, cuda or cuda:N, got gpu"
SSLC_DEVICE=gpu status 0 check --device cpu "$program"
status 0 check --checked "$program"
[ "$(grep -c cuda out)" = 0 ] || fail "what is tested is tested on the processor"
status 0 emit --stage asm "$program"

# The same run.
status 0 check --device cuda:1 "$program"
says "cuda:1, stand-in 1, sm_80: "
says "of 64.0 MiB that are free"
status 0 run --out cpu --quiet --device cpu "$program"
status 0 run --out gpu --quiet --device cuda "$program"
status 0 run --out auto "$program"
says "cuda:0, stand-in 0, sm_80: "
same gpu/checkpoint.safetensors auto/checkpoint.safetensors
close cpu/metrics.jsonl gpu/metrics.jsonl 2e-4
close cpu/evaluation.jsonl gpu/evaluation.jsonl 0.15 # of ten samples, whose neighbours may be equally near
head -n 1 cpu/evaluation.jsonl >first && head -n 1 gpu/evaluation.jsonl >second
close first second 1e-6
same cpu/images.png gpu/images.png
grep -q '"device":"sm_80"' gpu/checkpoint.safetensors || fail "the checkpoint should name the device"
status 0 run --out again --quiet --device cuda:1 --threads 1 "$program"
same gpu/checkpoint.safetensors again/checkpoint.safetensors
SSLC_STAND_IN_EAGER=1 status 0 run --out early --quiet --device cuda "$program"
same gpu/checkpoint.safetensors early/checkpoint.safetensors
same gpu/evaluation.jsonl early/evaluation.jsonl

# One half here, the other there.
status 0 run --out there --steps 7 --quiet --device cuda "$program"
cp -r there back
status 0 run --out there --resume --quiet --device cuda "$program"
same gpu/checkpoint.safetensors there/checkpoint.safetensors
status 0 run --out back --resume --quiet --device cpu "$program"
complains "another processor or device"
close cpu/metrics.jsonl back/metrics.jsonl 2e-4
status 0 run --out forth --steps 7 --quiet --device cpu "$program"
status 0 run --out forth --resume --quiet --device cuda "$program"
close cpu/metrics.jsonl forth/metrics.jsonl 2e-4

status 0 profile --steps 1 --device cuda --quiet "$program"
says "cuda:0, stand-in 0, sm_80: 128 GFLOP/s, 16.0 GB/s"
[ "$(awk 'length > 80' out | wc -l)" = 0 ] || fail "a line of the profile is longer than 80 columns"

# A language model: attention, texts, and bytes that are drawn one by one.
mkdir text && cp "$2/README.md" text/input.txt
for device in cpu cuda; do
  status 0 run --out gpt_$device --steps 3 --quiet --device $device --data-root text --set window=15 --set dim=16 --set layers=1 --set heads=2 --set batch=8 "$2/examples/gpt.ssl"
done
close gpt_cpu/metrics.jsonl gpt_cuda/metrics.jsonl 2e-4

# A device that fails in the middle: the run ends with what went wrong, and the last good checkpoint stays and can be gone on with. At each
# place: before training, in a step, where a run is captured or replayed, and in an evaluation.
status 0 run --out good --steps 5 --quiet --device cuda "$program"
for place in cuMemAlloc_v2:60 cuModuleLoadData:1 cuLaunchKernel:1 cuStreamSynchronize:2 cuLaunchKernel:150 cuStreamBeginCapture_v2:1 cuGraphInstantiateWithFlags:1 \
  cuGraphLaunch:9 cuStreamSynchronize:60 cuMemcpyHtoDAsync_v2:30; do
  rm -rf broken && cp -r good broken
  SSLC_STAND_IN_FAILS=$place status 1 run --out broken --resume --quiet --device cuda "$program"
  complains "cuda:0, "
  complains "made to fail"
  case $(head -c 4000 broken/checkpoint.safetensors | tr -d '\0' | sed -n 's/.*"step":"\([0-9]*\)".*/\1/p') in
    5) same good/checkpoint.safetensors broken/checkpoint.safetensors ;;
    10) kept=broken/checkpoint.safetensors ;;
    *) fail "$place: the checkpoint is of another step" ;;
  esac
done
[ -n "${kept:-}" ] || fail "no failure came behind a checkpoint"
status 0 run --out broken --resume --quiet --device cuda "$program"
same gpu/checkpoint.safetensors broken/checkpoint.safetensors
same gpu/metrics.jsonl broken/metrics.jsonl

# A kernel that its compiler refuses is shown with the line that it computes for.
SSLC_STAND_IN_FAILS=nvrtcCompileProgram:1 status 1 check --no-cache --device cuda "$program"
complains "error[E0603]: no machine code for cuda:0, stand-in 0, sm_80: kernel "
complains "(1): error: made to fail"
complains "| "
