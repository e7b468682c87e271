#!/bin/sh
# redis-server under redis-benchmark, with snapshots by fork (BGSAVE) while it is being written to. What is in the snapshot
# is read back by another server and compared, as is what the server holds in the end.
. "$(dirname "$0")/../lib.sh"
need_library
need redis-server redis-benchmark redis-cli awk

redis=
cli() {
    redis-cli -s "$scratch/redis.sock" "$@"
}
redis_answers() {
    kill -0 "$redis" 2>/dev/null || fail "redis-server ended: $(tail -n 5 "$scratch/redis.log" "$scratch/redis.err")"
    [ "$(cli ping 2>/dev/null)" = PONG ]
}
# redis_start HOW...: HOW is the command that runs redis-server under something, or nothing.
redis_start() {
    "$@" redis-server --port 0 --unixsocket "$scratch/redis.sock" --dir "$scratch" --save '' \
        --logfile "$scratch/redis.log" --enable-debug-command yes --daemonize no >/dev/null 2>"$scratch/redis.err" &
    redis=$!
    background_pids=$redis
    poll 20 redis_answers || fail "redis-server does not answer"
}
redis_stop() {
    cli shutdown nosave >/dev/null 2>&1
    poll 10 redis_is_gone || fail "redis-server does not end"
    wait "$redis"
    background_pids=
}
redis_is_gone() {
    ! kill -0 "$redis" 2>/dev/null
}
# A digest of the keys that the test loaded, not of those the benchmark writes.
loaded_digest() {
    cli --raw eval "local h = '' for i = 1, 60000 do h = redis.sha1hex(h .. redis.call('get', 'load:' .. i)) end return h" 0
}
saved() {
    cli info persistence | tr -d '\r' >"$scratch/info"
    grep -q '^rdb_bgsave_in_progress:0' "$scratch/info"
}
# One snapshot of the running server, under load.
snapshot() {
    redis-benchmark -s "$scratch/redis.sock" -q -n 60000 -r 20000 -d 400 -P 4 -c 20 -t set,lpush,hset >/dev/null &
    load=$!
    for round in 1 2 3; do
        cli bgsave >/dev/null
        poll 30 saved || fail "BGSAVE $round does not finish"
        grep -q '^rdb_last_bgsave_status:ok' "$scratch/info" || fail "BGSAVE $round failed"
    done
    wait "$load" || fail "redis-benchmark failed"
}

awk 'BEGIN { for (i = 1; i <= 60000; i++) {
    value = ""
    for (j = 0; j < 5 + i % 40; j++) value = value (i * 7919 + j * 31) % 10007 "."
    printf "SET load:%d %s\r\n", i, value
} }' >"$scratch/load"

daemon_start_warm
redis_start under_hakmem
cli --pipe <"$scratch/load" >/dev/null || fail "load"
before=$(loaded_digest)
snapshot
after=$(loaded_digest)
redis_stop
[ "$before" = "$after" ] || fail "the server's memory changed: $before, then $after"
expect_stats "$scratch/redis.err" leased_bytes -gt 0
expect_stats "$scratch/redis.err" fallbacks -eq 0
grep '"fallbacks"' "$scratch/redis.err" | tail -n 1
expect_all_back

# A server without hakmem: reads the snapshot; and the digest that it gives for the same load.
redis_start
snapshotted=$(loaded_digest)
[ "$(cli dbsize)" -gt 60000 ] || fail "the snapshot holds only $(cli dbsize) keys"
cli flushall >/dev/null
cli --pipe <"$scratch/load" >/dev/null
expected=$(loaded_digest)
redis_stop
[ ${#expected} -eq 40 ] || fail "no digest: $expected"
[ "$before" = "$expected" ] || fail "the server held $before, expected $expected"
[ "$snapshotted" = "$expected" ] || fail "the snapshot holds $snapshotted, expected $expected"
