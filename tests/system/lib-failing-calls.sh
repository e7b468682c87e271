#!/bin/sh
# Whichever system call of the library's fails, once or from then on: the program is served, or told NULL and ENOMEM; no
# byte of it changes; and nothing that the daemon gave is lost. At random points, for time; FAILING_CALLS=all does each.
. "$(dirname "$0")/../lib.sh"
need_library
program=$programs/prog-failing-calls
every=${FAILING_CALLS:-60}
[ "$every" != all ] || every=1
[ "$(uname -m)" = x86_64 ] || skip "the tracer knows x86-64 alone"
HAKMEM_CONNECT=off LD_PRELOAD=$library "$program" once 0 "$every" >"$scratch/out" 2>&1 ||
    fail "private memory: $(cat "$scratch/out")"
cat "$scratch/out"
daemon_start_warm -o reclaim.idle_ms=20
for kind in once shared map fork; do
    HAKMEM_SOCKET=$socket HAKMEM_WAIT_US=1000000 LD_PRELOAD=$library "$program" "$kind" 0 "$every" >"$scratch/out" 2>&1 ||
        fail "$kind, with the daemon: $(cat "$scratch/out")"
    cat "$scratch/out"
    expect_all_back
done
# An extent that cannot be mapped goes back, and the next one is not asked for at once.
[ "$(daemon_figure denied_total)" -eq 0 ] || fail "a program that can map nothing used up its quota"
