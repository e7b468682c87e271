#!/bin/sh
# Under a service manager: the daemon takes the socket it is given, also after the client that woke it has been waiting, says
# READY=1 once and STOPPING=1 at its end, and leaves the socket's file to its owner.
set -eu
. tests/system/ctl-common.inc
command -v systemd-socket-activate >/dev/null || { echo "systemd-socket-activate is not installed"; exit 77; }

# The manager's end of sd_notify: writes each message to a file.
python3 - "$folder/notify" "$folder/notified" <<'PYTHON' &
import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
with open(sys.argv[2], "wb", buffering=0) as out:
    while True:
        out.write(manager.recv(65536) + b"\n")
PYTHON
manager=$!
trap 'kill $manager 2>/dev/null || true; stop_daemon; rm -rf "$folder"' EXIT
listening() { [ -S "$folder/notify" ]; }
until_true 10 listening || die "the fake manager did not start"

NOTIFY_SOCKET=$folder/notify systemd-socket-activate --seqpacket -E NOTIFY_SOCKET -l "$socket" \
    "$BUILD/hakmemd" --config /dev/null -o pool.min=4M >"$folder/log" 2>&1 &
daemon=$!
waiting() { [ -S "$socket" ]; }
until_true 10 waiting || die "no socket"
[ ! -s "$folder/notified" ] || die "started before anybody connected"

# The first connection starts the daemon and is answered by it.
expect 0 ctl --json ping
[ "$(number pid <"$folder/out")" -eq "$daemon" ] || die "somebody else answered"
until_true 10 grep -qx READY=1 "$folder/notified" || die "not READY: $(cat "$folder/notified")"
expect 0 ctl run -- python3 -c 'x = [bytes(1000) for i in range(10000)]'
[ ! -s "$folder/err" ] || die "run did not find the daemon: $(cat "$folder/err")"
expect 0 ctl --json stats
[ "$(number leases_total <"$folder/out")" -gt 0 ] || die "nothing was leased"

kill -HUP "$daemon"
reloaded() { grep -q '^RELOADING=1' "$folder/notified" && [ "$(grep -cx READY=1 "$folder/notified")" -eq 2 ]; }
until_true 10 reloaded || die "no reload: $(cat "$folder/notified")"

kill -TERM "$daemon"
result=0
wait "$daemon" || result=$?
daemon=
[ "$result" -eq 0 ] || die "ended with $result"
stopped() { grep -qx STOPPING=1 "$folder/notified"; }
until_true 10 stopped || die "not STOPPING: $(cat "$folder/notified")"
[ -S "$socket" ] || die "the manager's socket was removed"
echo "activation holds"
