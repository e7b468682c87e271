#!/bin/sh
# The daemon is stopped, killed, and started anew under a program that holds leases: the program frees what it had, takes more, and
# ends well; and the new daemon serves it.
set -eu
. tests/system/ctl-common.inc

cat >"$folder/program.py" <<'PYTHON'
import sys
def fill(seed):
    return [bytes([(seed + i) % 256]) * 700 for i in range(40000)]
def check(blocks, seed):
    assert all(block[0] == block[-1] == (seed + i) % 256 for i, block in enumerate(blocks))
blocks = fill(1)
print("holding", flush=True)
sys.stdin.readline()          # the daemon is gone
check(blocks, 1)
more = fill(2)
del blocks                    # given back with nobody there
again = fill(3)
check(more, 2)
check(again, 3)
print("alone", flush=True)
sys.stdin.readline()          # a new daemon is there
kept = []
while sys.stdin.readline() == "on\n":
    if len(kept) < 12:        # 340 MB at most
        kept.append(fill(len(kept)))
    check(kept[-1], len(kept) - 1)
for i, blocks in enumerate(kept):
    check(blocks, i)
check(more, 2)
check(again, 3)
print("well", flush=True)
PYTHON

round_of() { # round_of SIGNAL
    start_daemon
    rm -f "$folder/stdin" "$folder/program.out"
    mkfifo "$folder/stdin"
    "$BUILD/hakmemctl" --socket "$socket" run -- python3 "$folder/program.py" <"$folder/stdin" >"$folder/program.out" 2>"$folder/program.err" &
    program=$!
    exec 9>"$folder/stdin"
    until_true 30 grep -qs holding "$folder/program.out" || die "the program did not come up: $(cat "$folder/program.err")"
    expect 0 ctl --json clients
    [ "$(number leased_bytes <"$folder/out")" -gt 8388608 ] || die "it holds no leases: $(cat "$folder/out")"

    kill -"$1" "$daemon"
    wait "$daemon" 2>/dev/null || true
    daemon=
    echo >&9
    gone_or_alone() { grep -q alone "$folder/program.out" || ! kill -0 "$program" 2>/dev/null; }
    until_true 60 gone_or_alone || die "SIG$1: the program hangs"
    grep -q alone "$folder/program.out" || die "SIG$1 of the daemon ended the program: $(wait "$program" || echo "status $?") $(cat "$folder/program.err")"

    # The new daemon: found at a slow path, after a back-off, while the program goes on taking memory.
    start_daemon
    echo >&9
    served() {
        echo on >&9
        sleep 0.2
        ctl --json clients >"$folder/out" && [ -n "$(number pid <"$folder/out")" ] &&
            [ "$(number pid <"$folder/out")" -eq "$program" ] && [ "$(number leases <"$folder/out")" -gt 0 ]
    }
    until_true 20 served || die "SIG$1: the new daemon does not serve the program: $(cat "$folder/out")"
    exec 9>&-
    status=0
    wait "$program" || status=$?
    [ "$status" -eq 0 ] || die "SIG$1: the program ended with $status: $(cat "$folder/program.err")"
    grep -q well "$folder/program.out" || die "SIG$1: the program did not finish"
    stop_daemon
}
round_of KILL
round_of TERM
echo "restarts hold"
