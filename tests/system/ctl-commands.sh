#!/bin/sh
# Each command of hakmemctl against a real daemon: what it prints, for people and as JSON, what it changes, who may.
set -eu
. tests/system/ctl-common.inc
start_daemon

json() { # json COMMAND...: its output is one JSON object
    expect 0 ctl --json "$@"
    python3 -c 'import json, sys; assert isinstance(json.load(sys.stdin), dict)' <"$folder/out" ||
        die "--json $*: not one JSON object: $(cat "$folder/out")"
}
json_number() { number "$1" <"$folder/out"; }
pool_is_full() { ctl --json pool >"$folder/out" && [ "$(json_number stock_bytes)" -ge "$1" ]; }
pool_is_empty() { ctl --json pool >"$folder/out" && [ "$(json_number stock_bytes)" -eq 0 ]; }

# The keys that others rely on, each a number.
json stats
for key in clients leases_total denied_total stock_bytes stock_huge_bytes leased_bytes active_bytes idle_bytes \
    reclaimed_bytes_total scrubbed_bytes_total discarded_bytes_total orphan_bytes pinned_bytes \
    protocol_errors_total uptime_seconds; do
    [ -n "$(json_number "$key")" ] || die "stats lacks $key: $(cat "$folder/out")"
done
expect 0 ctl stats
for line in stock leased active idle orphans denied leases; do said "^ +$line +[0-9]"; done
# Options may also stand after the command.
expect 0 ctl stats --json
[ -n "$(json_number uptime_seconds)" ] || die "stats --json: no JSON"

expect 0 ctl ping
said "^hakmemd [0-9.]+, pid $daemon, up .*answered in [0-9]+ us"
json ping
[ "$(json_number pid)" -eq "$daemon" ] || die "ping: another pid"

until_true 10 pool_is_full 8388608 || die "the stock was not filled: $(cat "$folder/out")"
expect 0 ctl pool
said '^minimum +8.00 MiB'
said '^maximum +64.0 MiB'
said '^backing achieved +(thp|collapse|4k|hugetlb)'
said '^ +EXTENT +FRESH'
json pool
[ "$(json_number min_bytes)" -eq 8388608 ] || die "pool: min_bytes is $(json_number min_bytes)"

expect 0 ctl clients
said '^no clients'
json clients
expect 1 ctl clients $$
complained 'not a client|no such|unknown'

expect 0 ctl prewarm 32M
said 'target is now 32.0 MiB'
until_true 20 pool_is_full 33554432 || die "prewarm had no effect: $(cat "$folder/out")"
expect 0 ctl prewarm 64MiB
json prewarm 1G
[ "$(json_number target_bytes)" -le 67108864 ] || die "prewarm goes past pool.max"

expect 0 ctl trim
said '^released'
json trim
[ -n "$(json_number released_bytes)" ] || die "trim: no released_bytes"

expect 0 ctl drain
said 'resume'
until_true 10 pool_is_empty || die "drain left stock: $(cat "$folder/out")"
expect 0 ctl drain --resume
until_true 10 pool_is_full 8388608 || die "the stock was not filled after resume: $(cat "$folder/out")"
json drain
expect 0 ctl drain --resume

expect 0 ctl quota bytes_per_user 1G
said 'bytes_per_user is now 1.00 GiB for every user'
expect 0 ctl quota quota.clients_per_user 100 --uid 65534
said 'clients_per_user is now 100 for uid 65534'
for key in descriptors_per_user requests_per_second requests_per_user; do
    expect 0 ctl quota "$key" 5000
    expect 0 ctl quota "quota.$key" 5000 --uid 65534
done
expect 1 ctl quota requests_per_second 0
json quota bytes_per_client 512M --uid 65534
[ "$(json_number value)" -eq 536870912 ] || die "quota: value is $(json_number value)"

# Who is neither root nor the daemon's user may look, not steer.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    for command in stats clients pool top ping; do
        expect 0 setpriv --reuid=65534 --clear-groups "$BUILD/hakmemctl" --socket "$socket" $command
    done
    for command in trim 'prewarm 8M' drain 'drain --resume' 'quota bytes_per_user 1G'; do
        expect 4 setpriv --reuid=65534 --clear-groups "$BUILD/hakmemctl" --socket "$socket" $command
        complained 'denied'
    done
fi

# A daemon that does not answer costs a bounded time, and is no success.
kill -STOP "$daemon"
started=$(date +%s)
expect 1 ctl stats
complained 'did not answer'
[ $(($(date +%s) - started)) -le 15 ] || die "a stopped daemon holds hakmemctl for too long"
kill -CONT "$daemon"
expect 0 ctl ping

# Output that cannot be written is a failure.
expect 1 sh -c '"$0" --socket "$1" stats >/dev/full' "$BUILD/hakmemctl" "$socket"
echo "commands hold"
