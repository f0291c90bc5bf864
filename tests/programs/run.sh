# Runs one program at the sizes given, as a person would: compiled, trained for some steps, judged by its eval blocks.
#   sh run.sh SSLC DATA PROGRAM STEPS [NAME=VALUE...]
# The run stays in DATA/runs, where other programs find its weights.
# Machine code is kept beside the data, so that programs share kernels and a second run compiles none.
set -u
sslc=$1 data=$2 program=$3 steps=$4
shift 4
for setting; do
  set -- "$@" --set "$setting"
  shift
done
run=$data/runs/$(basename "$program" .ssl)
mkdir -p "$run"
out=$run/output
export XDG_CACHE_HOME=$data/cache LC_ALL=C
"$sslc" run "$program" --data-root "$data" --steps "$steps" --out "$run" --force "$@" >"$out" 2>&1 || {
  cat "$out"
  exit 1
}
cat "$out"
if grep -q "warning\[" "$out"; then
  echo "FAILED: a trial program has warnings"
  exit 1
fi
awk '/are in use at once/ { small = / take [0-9.]+ (KiB|bytes)/ || / take [0-7][.][0-9]+ MiB/; sub(/.*[+]/, ""); if ($1 + 0 > (small ? 8 : 5)) exit 1 }' "$out" || {
  echo "FAILED: the arena is more than 5 % larger than what is in use (below 8 MiB: 8 %)"
  exit 1
}
[ "$(wc -l <"$run/metrics.jsonl")" = "$steps" ] || {
  echo "FAILED: not $steps steps"
  exit 1
}
