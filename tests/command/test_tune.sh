# sslc tune: what it reports; records in the cache that the next compilation takes, that a run keeps, and that may be damaged.
. "$2/tests/command/command.sh"
records() { cat cache/sslc/schedules/*.kernels; }

status 0 run --out before --quiet "$tiny"
status 0 tune --kernels 2 --schedules 12 --threads 1 "$tiny"
says "12 schedules"
says "of a step"
says "cache/sslc/schedules"

# A record that is there for sure: one kernel of the step, with a schedule of our own.
"$sslc" emit --stage kernels "$tiny" >step
kernel=$(awk '/kernel [0-9]+ is kernel contract/ { sub(/.*is /, ""); on = 1 } on && /schedule/ { exit } on { print }' step)
printf '%s\n' "$kernel" >one.kernel
status 0 kernel --check one.kernel
says "agrees with the definition"
status 0 tune --schedules 8 --json one.kernel
says '"best_seconds"'
says '"tried":	8'

# A run keeps the schedules that it had: when records come or go, it goes on with the same bits and says nothing.
status 0 run --out part --steps 7 --quiet "$tiny"
mv cache/sslc/schedules kept
status 0 run --out part --resume --quiet "$tiny"
[ -s err ] && grep -q "other schedules" err && fail "a resumed run should have its own schedules"
mv kept cache/sslc/schedules
status 0 run --out whole --quiet "$tiny"
same whole/checkpoint.safetensors part/checkpoint.safetensors
status 0 run --out one --threads 1 --quiet "$tiny"
same whole/checkpoint.safetensors one/checkpoint.safetensors
status 0 run --out before --resume --set epochs=3 --quiet "$tiny"

# A damaged record is told and left out.
for file in cache/sslc/schedules/*.kernels; do printf 'kernel k {\n  in b0 : f32[\n' >>"$file"; done
status 0 check --quiet "$tiny"
complains "W0911"
complains "left out"
status 0 check --quiet --no-cache "$tiny"
[ -s err ] && fail "without a cache there are no records"

status 2 tune
status 1 tune missing.ssl
printf 'kernel k {' >broken.kernel
status 1 tune broken.kernel
complains "broken.kernel:1"
exit 0
