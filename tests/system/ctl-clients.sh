#!/bin/sh
# A program on hakmem as `clients`, `clients PID` and `top` show it while it lives, and its trace in `stats` after it.
set -eu
. tests/system/ctl-common.inc
start_daemon

# Holds 16 MiB of small blocks until its standard input ends.
mkfifo "$folder/stdin"
"$BUILD/hakmemctl" --socket "$socket" run -- python3 -c '
import sys
blocks = [bytes(1000) for _ in range(16000)]
print("ready", flush=True)
sys.stdin.read()' <"$folder/stdin" >"$folder/program" 2>"$folder/program.err" &
program=$!
exec 9>"$folder/stdin"
ready() { grep -q ready "$folder/program"; }
until_true 20 ready || die "the program did not come up: $(cat "$folder/program.err")"
[ ! -s "$folder/program.err" ] || die "run said: $(cat "$folder/program.err")"

expect 0 ctl clients
said "^ *PID +UID +PROGRAM +LEASED"
said "^ *$program +[0-9]+ +python3[^ ]* +[0-9.]+ MiB "
expect 0 ctl clients "$program"
said '^ *BLOCK +SPANS'
expect 0 ctl --json clients "$program"
[ "$(number pid <"$folder/out")" -eq "$program" ] || die "clients PID: another process"
leased=$(number leased_bytes <"$folder/out")
[ "$leased" -ge 8388608 ] || die "leased only $leased"
python3 -c '
import json, sys
client = json.load(sys.stdin)["clients"][0]
live = sum(c["live_bytes"] for c in client["classes"])
assert live >= 16000 * 1000, live
' <"$folder/out" || die "the size classes do not add up: $(cat "$folder/out")"

# Not a terminal: once.
expect 0 ctl top
said 'clients 1 '
said "^ *$program "
# A terminal: refreshed until q.
expect 0 python3 - "$BUILD/hakmemctl" "$socket" "$program" <<'PYTHON'
import os, pty, select, sys, time
pid, master = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "--socket", sys.argv[2], "top"])
seen, deadline, asked = b"", time.monotonic() + 15, False
while time.monotonic() < deadline:
    if select.select([master], [], [], 0.1)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    if not asked and sys.argv[3].encode() in seen:
        os.write(master, b"q")
        asked = True
status = os.waitpid(pid, 0)[1]
assert asked, seen
assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status
PYTHON

exec 9>&-
wait "$program" || die "the program failed: $(cat "$folder/program.err")"
all_back() {
    ctl --json stats >"$folder/out" && [ "$(number leased_bytes <"$folder/out")" -eq 0 ] &&
        [ "$(number orphan_bytes <"$folder/out")" -eq 0 ] && [ "$(number clients <"$folder/out")" -eq 0 ]
}
until_true 10 all_back || die "not everything came back: $(cat "$folder/out")"
[ "$(number leases_total <"$folder/out")" -gt 0 ] || die "no lease was counted"
echo "clients hold"
