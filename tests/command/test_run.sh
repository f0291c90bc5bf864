# sslc run: what it shows and writes; equal bits for any number of threads; killed and interrupted runs that go on.
. "$2/tests/command/command.sh"

status 0 check "$tiny"
says "203 parameters"
says "15 steps in all, batches of 16, 5 steps an epoch"
status 0 check "$tiny"
says "compiled in"
kernels=$(sed -n 's/.*: \([0-9]*\) kernels, .*/\1/p' out)
says "$kernels kernels, $kernels of them from the cache"

status 0 run --out whole --threads 1 "$tiny"
says "before training"
says "knn"
says "after step 15"
complains "epoch 3/3"
[ "$(wc -l <whole/metrics.jsonl)" = 15 ] || fail "metrics.jsonl should have a line for each of 15 steps"
[ "$(wc -l <whole/evaluation.jsonl)" = 4 ] || fail "evaluation.jsonl should have lines for the start and 3 epochs"

status 0 run --out two --threads 2 --quiet --no-cache "$tiny"
[ -s out ] && ! grep -q "after step" out && fail "--quiet should show scores alone"
same whole/metrics.jsonl two/metrics.jsonl
same whole/checkpoint.safetensors two/checkpoint.safetensors
status 0 run --out seeded --seed 1 "$tiny"
cmp -s whole/metrics.jsonl seeded/metrics.jsonl && fail "another seed should give other losses"

# A part of a run, resumed.
status 0 run --out part --steps 7 "$tiny"
status 0 run --out part --resume "$tiny"
same whole/metrics.jsonl part/metrics.jsonl
same whole/checkpoint.safetensors part/checkpoint.safetensors
status 0 run --out part --resume "$tiny"
says "complete"
same whole/checkpoint.safetensors part/checkpoint.safetensors

# Killed as soon as there is a checkpoint, resumed; and the same with a polite interrupt.
for signal in KILL INT; do
  status 0 run --out "long-$signal" --set epochs=40 --quiet "$tiny"
  "$sslc" run --out "$signal" --set epochs=40 --quiet "$tiny" >out 2>err &
  job=$!
  while [ ! -e "$signal/checkpoint.safetensors" ] && kill -0 $job 2>/dev/null; do :; done
  kill -$signal $job 2>/dev/null
  wait $job 2>/dev/null
  status 0 run --out "$signal" --resume --set epochs=40 --quiet "$tiny"
  same "long-$signal/checkpoint.safetensors" "$signal/checkpoint.safetensors"
  same "long-$signal/metrics.jsonl" "$signal/metrics.jsonl"
  same "long-$signal/evaluation.jsonl" "$signal/evaluation.jsonl"
done

# Where the time goes.
status 0 profile --steps 2 --quiet "$tiny"
says "a step (median of 2)"
says "forward"
[ "$(awk 'length > 80' out | wc -l)" = 0 ] || fail "a line of the profile is longer than 80 columns"
status 0 profile --steps 1 --json "$tiny"
says '"floor_seconds"'
says '"part"'
