#!/bin/sh
# hakmemctl run: the command's own exit status, signals and environment, with a private daemon and with one that is there;
# nothing is left behind.
set -eu
. tests/system/ctl-common.inc
export TMPDIR=$folder/tmp
mkdir "$TMPDIR"
left_behind() { find "$TMPDIR" -mindepth 1 | grep -q .; }
private_daemons() { pgrep -f "^$BUILD/hakmemd .*$TMPDIR" || true; }
clean() {
    if left_behind; then die "left behind: $(find "$TMPDIR" -mindepth 1)"; fi
    [ -z "$(private_daemons)" ] || die "a private daemon lives on"
}

# Without a daemon: a private one, said in one line.
expect 0 ctl run -- sh -c 'echo "$HAKMEM_SOCKET"; "$0" --json ping' "$BUILD/hakmemctl"
complained 'started a private one'
[ "$(wc -l <"$folder/err")" -eq 1 ] || die "more than a line: $(cat "$folder/err")"
said "^$TMPDIR/hakmem-run"
said '"pid": [0-9]'
clean

# The exit status is the command's; failures to start it are env(1)'s.
for status in 0 1 3 4 42 126; do
    expect "$status" ctl run -- sh -c "exit $status"
done
expect 127 ctl run -- "$folder/no-such-program"
: >"$folder/no-program"
expect 126 ctl run -- "$folder/no-program"
expect 143 ctl run -- sh -c 'kill -TERM $$'
expect 137 ctl run -- sh -c 'kill -KILL $$'
# Whatever follows the command is the command's, with and without --.
expect 0 ctl run echo --json -o x --help
said '^--json -o x --help$'
clean

# LD_PRELOAD is prepended to.
expect 0 env LD_PRELOAD=libm.so.6 "$BUILD/hakmemctl" --socket "$socket" run -- sh -c 'echo "$LD_PRELOAD"'
said '/libhakmem\.so[.0-9]*:libm\.so\.6$'
# HAKMEM_LIBRARY names another library; one that is not there is an error before anything runs.
cp "$BUILD/libhakmem.so" "$folder/mine.so"
HAKMEM_LIBRARY=$folder/mine.so expect 0 ctl run -- sh -c 'echo "$LD_PRELOAD"'
said "^$folder/mine.so$"
HAKMEM_LIBRARY=$folder/none.so expect 1 ctl run -- echo ran
complained 'no such file'
[ ! -s "$folder/out" ] || die "it ran without the library"
mkdir "$folder/with blank"
cp "$BUILD/libhakmem.so" "$folder/with blank/"
HAKMEM_LIBRARY="$folder/with blank/libhakmem.so" expect 1 ctl run -- true
complained 'blank'

# Its options reach the private daemon, and an impossible one makes it fail, with the daemon's own words.
expect 0 ctl run -o pool.min=4M -o pool.max=6M -- sh -c '"$0" --json pool' "$BUILD/hakmemctl"
[ "$(number max_bytes <"$folder/out")" -eq 6291456 ] || die "-o did not arrive: $(cat "$folder/out")"
expect 3 ctl run -o pool.nonsense=1 -- echo ran
complained 'nonsense'
complained 'did not start'
[ ! -s "$folder/out" ] || die "it ran without a daemon"
clean

# A signal sent to hakmemctl reaches the command, which may make something of it.
started() { [ -s "$folder/started" ]; }
for signal in INT TERM HUP QUIT USR1 USR2; do
    rm -f "$folder/started"
    # A background job ignores SIGINT and SIGQUIT, and so would the command: python sets them back.
    python3 -c '
import os, signal, sys
for s in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$BUILD/hakmemctl" --socket "$socket" run -- \
        sh -c "trap 'kill \$sleeper; exit 7' $signal; sleep 30 & sleeper=\$!; echo \$\$ >'$folder/started'; wait" \
        2>/dev/null &
    pid=$!
    until_true 15 started || die "the command did not start"
    kill -"$signal" "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 7 ] || die "SIG$signal: status $status"
    clean
done

# Killed outright, it cannot tidy, but neither the daemon nor its memory stays.
rm -f "$folder/started"
"$BUILD/hakmemctl" --socket "$socket" run -- sh -c "echo \$\$ >'$folder/started'; exec sleep 30" 2>/dev/null &
pid=$!
until_true 15 started || die "the command did not start"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
no_private_daemon() { [ -z "$(private_daemons)" ]; }
until_true 10 no_private_daemon || die "a private daemon outlived hakmemctl"
kill -TERM "$(cat "$folder/started")" 2>/dev/null || true
rm -rf "$TMPDIR"
mkdir "$TMPDIR"

# With a daemon there: hakmemctl becomes the command and says nothing.
start_daemon
expect 0 ctl run -- sh -c 'echo "$HAKMEM_SOCKET $$"'
said "^$socket "
[ ! -s "$folder/err" ] || die "it spoke: $(cat "$folder/err")"
expect 42 ctl run -- sh -c 'exit 42'
expect 127 ctl run -- "$folder/no-such-program"
expect 143 sh -c 'exec "$0" --socket "$1" run -- sh -c "kill -TERM \$\$"' "$BUILD/hakmemctl" "$socket"
clean
# A relative socket path is made absolute: the command may change its folder.
(cd "$folder" && "$BUILD/hakmemctl" --socket hakmemd.sock run -- sh -c 'cd /; echo "$HAKMEM_SOCKET"') >"$folder/out"
said "^$folder/hakmemd.sock$"
echo "run holds"
