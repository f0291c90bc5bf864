# What tests of the command share. Called as: sh test_X.sh SSLC SOURCE_DIR
set -u
sslc=$1
tiny=$2/tests/command/tiny.ssl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache LC_ALL=C
cd "$work" || exit 1

fail() {
  echo "FAILED: $1" >&2
  sed 's/^/  | /' "$work/out" "$work/err" >&2
  exit 1
}

# status STATUS ARGUMENTS...: runs the command and checks its exit code; what it wrote is in out and err.
status() {
  wanted=$1
  shift
  "$sslc" "$@" >"$work/out" 2>"$work/err"
  got=$?
  [ "$got" = "$wanted" ] || fail "sslc $*: exit code $got, not $wanted"
}
says() { grep -qF -- "$1" "$work/out" || fail "'$1' is not in the output"; }
complains() { grep -qF -- "$1" "$work/err" || fail "'$1' is not among the errors"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
