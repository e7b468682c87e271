#!/bin/sh
# hakmemctl's command line: what is wrong usage (2), what is no daemon (3), and that each says why.
set -eu
. tests/system/ctl-common.inc

expect 0 "$BUILD/hakmemctl" --help
said 'usage: hakmemctl'
for command in stats clients pool top ping trim prewarm drain quota doctor run; do
    said "^  $command"
done
expect 0 "$BUILD/hakmemctl" --version
said '^hakmemctl [0-9]'

expect 2 "$BUILD/hakmemctl"
complained 'a command is missing'
expect 2 ctl nonsense
complained 'no such command: nonsense'
expect 2 ctl --nonsense stats
expect 2 ctl stats extra
complained 'too many arguments'
expect 2 ctl stats --resume
complained 'not for stats'
expect 2 ctl --uid 5 quota bytes_per_user 1G
expect 2 ctl quota bytes_per_user
complained 'too few'
expect 2 ctl quota bytes_per_planet 1G
complained 'bytes_per_user bytes_per_client'
expect 2 ctl quota bytes_per_user plenty
expect 2 ctl quota bytes_per_user 1G --uid nobody
complained 'not a user id'
expect 2 ctl quota bytes_per_user 1G --uid 4294967295
for size in '' -5 5Q 5MB2 1.5.5G . .5G 99999999999G 18446744073709551616; do
    expect 2 ctl prewarm "$size"
done
expect 2 ctl clients abc
complained 'not a process id'
expect 2 ctl clients 0
expect 2 ctl run
expect 2 ctl run --json-nonsense -- true

# No daemon: 3, for each command that asks one; a socket file that nobody listens on is the same.
for command in stats clients pool top ping trim 'prewarm 1M' drain 'quota bytes_per_user 1G'; do
    expect 3 ctl $command
    complained 'not running: there is no socket'
done
python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1])' "$socket"
expect 3 ctl stats
complained 'not running: nobody listens'
rm "$socket"
# Something that is no hakmemd.
: >"$folder/file"
expect 3 "$BUILD/hakmemctl" --socket "$folder/file" ping
expect 1 "$BUILD/hakmemctl" --socket "$(printf '%0200d' 0)" ping
# The environment names the socket too; the option wins.
HAKMEM_SOCKET=$folder/other expect 3 "$BUILD/hakmemctl" ping
complained "$folder/other"
HAKMEM_SOCKET=$folder/other expect 3 ctl ping
complained "$socket"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    mkdir "$folder/closed"
    chmod 700 "$folder/closed"
    expect 4 setpriv --reuid=65534 --clear-groups "$BUILD/hakmemctl" --socket "$folder/closed/s" ping
    complained 'no permission'
fi
echo "usage holds"
