# What is known of collapse: a warning of the compiler once in check and once in run, figures in metrics.jsonl, and one sentence
# when a run collapses; none of it for a run that is well.
. "$2/tests/command/command.sh"
collapse=$2/tests/command/collapse.ssl

once() { [ "$(grep -cF -- "$1" "$work/err")" = 1 ] || fail "'$1' should stand once among the errors"; }

status 0 check "$collapse"
once "warning[W0907]"
status 0 run --out bad "$collapse"
once "warning[W0907]"
once "f has collapsed at step"
once "effective rank"
[ "$(grep -c '"std/f":.*"rank/f":' bad/metrics.jsonl)" = 120 ] || fail "each step should have the figures of f"

status 0 check --set healthy=1 "$collapse"
[ -s err ] && fail "a healthy program deserves no warning"
status 0 run --out good --set healthy=1 --set steps=300 --quiet "$collapse"
[ -s err ] && fail "a healthy run deserves no warning"
status 0 run --set epochs=60 --quiet "$tiny"
[ -s err ] && fail "a healthy run deserves no warning"
true
