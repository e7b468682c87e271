# Sourced by the scripts of tests/system and tests/real: a scratch folder, a private daemon, running programs under the
# library, and reading figures out of JSON. A script that sources this owns whatever it starts; all of it is gone at exit.
#
#   BUILD     folder of the artifacts, as given by tests/run.sh
#   scratch   private folder, removed at exit
#   socket    where the private daemon listens
#
# A verdict is an exit status: pass 0, skip 77, fail 1.

: "${BUILD:=build}"
BUILD=$(cd "$BUILD" && pwd) || exit 1
tests=$(cd "$(dirname "$0")/.." && pwd) || exit 1
library=$BUILD/libhakmem.so
programs=$BUILD/tests/system
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hakmem-test.XXXXXX") || exit 1
chmod 755 "$scratch"
socket=$scratch/hakmemd.sock
daemon_pid=
# Further processes to end at exit, by pid.
background_pids=

cleanup() {
    status=$?
    trap - EXIT INT TERM
    for pid in $background_pids $daemon_pid; do
        kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$scratch"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAIL: $*" >&2
    [ ! -s "$scratch/daemon.log" ] || { echo "the daemon said:" && tail -n 20 "$scratch/daemon.log"; } >&2
    exit 1
}
skip() {
    echo "skipped: $*"
    exit 77
}
need() {
    for needed in "$@"; do
        command -v "$needed" >/dev/null 2>&1 || skip "$needed is not installed"
    done
}

# The preloadable library, built without a sanitizer that replaces malloc itself.
need_library() {
    [ -f "$library" ] || fail "$library is not built"
    if nm -D "$library" 2>/dev/null | grep -qE ' U __(asan|tsan)_init'; then
        skip "a sanitizer's own malloc cannot be preloaded over"
    fi
}

# From here on the library is a debug build, whose invariants are walked and whose HAKMEM_TEST_ switches are there. In a
# folder of its own, so that another make in progress is not disturbed, and by one script at a time.
use_debug_library() {
    need_library
    need make flock
    library=$BUILD/debug/libhakmem.so
    mkdir -p "$BUILD/debug"
    flock "$BUILD/debug/lock" make -s -C "$tests/.." DEBUG=1 SAN= BUILD="$BUILD/debug" "$library" >"$scratch/make" 2>&1 ||
        fail "debug build: $(tail -n 20 "$scratch/make")"
}

# poll SECONDS COMMAND...: until COMMAND succeeds; 1 if it does not in time.
poll() {
    poll_until=$(($(date +%s) + $1))
    shift
    while ! "$@"; do
        [ "$(date +%s)" -lt "$poll_until" ] || return 1
        sleep 0.05
    done
}

# ---- the daemon ----

daemon_answers() {
    kill -0 "$daemon_pid" 2>/dev/null && "$BUILD/hakmemctl" --socket "$socket" ping >/dev/null 2>&1
}

# daemon_start [ARGUMENT...]: a private hakmemd at $socket; returns when it answers.
daemon_start() {
    [ -x "$BUILD/hakmemd" ] || fail "hakmemd is not built"
    : >"$scratch/hakmemd.conf"
    # Without the pipes by which a test leads a program.
    "$BUILD/hakmemd" --config "$scratch/hakmemd.conf" --socket "$socket" "$@" \
        >>"$scratch/daemon.log" 2>&1 8>&- 9>&- &
    daemon_pid=$!
    poll 10 daemon_answers || fail "hakmemd does not answer"
}

# daemon_start, and its stock is warm: the first lease is served at once.
daemon_start_warm() {
    daemon_start "$@"
    poll 20 stock_is_warm || fail "hakmemd prewarms nothing"
}
stock_is_warm() {
    [ "$(daemon_figure stock_bytes)" -gt 0 ]
}

daemon_kill() {
    kill -9 "$daemon_pid"
    wait "$daemon_pid" 2>/dev/null
    daemon_pid=
}

# SIGTERM; the daemon must leave by itself, with status 0.
daemon_stop() {
    kill -TERM "$daemon_pid"
    poll 10 daemon_is_gone || fail "hakmemd ignores SIGTERM"
    wait "$daemon_pid" || fail "hakmemd left with status $?"
    daemon_pid=
}
daemon_is_gone() {
    ! kill -0 "$daemon_pid" 2>/dev/null
}

# daemon_figure KEY: of `hakmemctl --json stats`, or 0.
daemon_figure() {
    figure=$("$BUILD/hakmemctl" --socket "$socket" --json stats 2>/dev/null | json_get "$1")
    echo "${figure:-0}"
}

# Everything the daemon had leased is back, and nothing is orphaned.
daemon_has_all_back() {
    [ "$(daemon_figure leased_bytes)" -eq 0 ] && [ "$(daemon_figure orphan_bytes)" -eq 0 ] &&
        [ "$(daemon_figure clients)" -eq 0 ]
}
expect_all_back() {
    poll 10 daemon_has_all_back || fail "left over: $("$BUILD/hakmemctl" --socket "$socket" stats)" \
        "$("$BUILD/hakmemctl" --socket "$socket" clients)"
}

# ---- programs under the library ----

# under_hakmem COMMAND...: with the private daemon. The bound on a wait is far above what the daemon takes: the machine
# may be busy, and a test that asserts zero fallbacks is not about that.
under_hakmem() {
    env LD_PRELOAD="$library" HAKMEM_SOCKET="$socket" HAKMEM_WAIT_US=5000000 HAKMEM_STATS=1 "$@"
}
# under_private COMMAND...: the library alone.
under_private() {
    env LD_PRELOAD="$library" HAKMEM_CONNECT=off HAKMEM_STATS=1 "$@"
}

# ---- JSON ----

# json_get KEY: the value of a numeric key, of each object on standard input that has it (one object per line or many lines).
json_get() {
    sed -n 's/.*"'"$1"'"[[:space:]]*:[[:space:]]*\([0-9][0-9]*\).*/\1/p'
}
# stats_sum FILE KEY: the sum over all processes that wrote their HAKMEM_STATS line into FILE; nothing if none did.
stats_sum() {
    grep '"fallbacks"' "$1" | json_get "$2" | awk '{ sum += $1 } END { if (NR) printf "%.0f\n", sum }'
}
# expect_stats FILE KEY OPERATOR VALUE: as of test(1), on the sum.
expect_stats() {
    actual=$(stats_sum "$1" "$2")
    [ -n "$actual" ] || fail "no HAKMEM_STATS line with $2: did the library serve this program?"
    [ "$actual" "$3" "$4" ] || fail "$2 is $actual, expected $3 $4"
}

# ---- real programs ----

# under_ctl COMMAND...: as a user would, by hakmemctl.
under_ctl() {
    env HAKMEM_LIBRARY="$library" HAKMEM_WAIT_US=5000000 HAKMEM_STATS=1 \
        "$BUILD/hakmemctl" --socket "$socket" run -- "$@"
}

# same_output NAME COMMAND...: COMMAND writes the same to standard output, and ends with status 0, without and under
# hakmemctl run; the library served it from leased memory, without one fallback; and nothing of it is left in the daemon.
# The HAKMEM_STATS lines of the second run are in $scratch/NAME.err.
same_output() {
    name=$1
    shift
    "$@" >"$scratch/$name.plain" 2>"$scratch/$name.plain-err" ||
        fail "$name fails without hakmem: $(tail -n 5 "$scratch/$name.plain-err")"
    under_ctl "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" ||
        fail "$name fails under hakmem, status $?: $(tail -n 5 "$scratch/$name.err")"
    [ -s "$scratch/$name.plain" ] || fail "$name writes nothing: nothing is compared"
    cmp "$scratch/$name.plain" "$scratch/$name.out" || fail "$name writes something else under hakmem"
    expect_stats "$scratch/$name.err" leased_bytes -gt 0
    expect_stats "$scratch/$name.err" fallbacks -eq 0
    echo "$name: $(grep -c '"fallbacks"' "$scratch/$name.err") processes," \
        "$(stats_sum "$scratch/$name.err" leased_bytes) bytes leased"
    expect_all_back
}
