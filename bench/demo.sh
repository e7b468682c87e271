#!/bin/sh
# The demonstration. A private hakmemd; random_mixed on the system's malloc and on hakmem in turn; both throughputs and the
# kernel's share of their time; who served the memory; what the daemon says; and that all of it came back.
#
# BUILD: the folder of the artifacts. ROUNDS, ITERATIONS, WORKING_SET, SEED: the workload.
# Fails if a run fails, if the daemon served nothing, or if something did not come back.
set -eu
: "${BUILD:=build}" "${ROUNDS:=5}" "${ITERATIONS:=10000000}" "${WORKING_SET:=8192}" "${SEED:=42}"
BUILD=$(cd "$BUILD" && pwd)

folder=$(mktemp -d "${TMPDIR:-/tmp}/hakmem-demo.XXXXXX")
socket=$folder/hakmemd.sock
daemon=
cleanup() {
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

fail() {
    echo "demo: $*" >&2
    [ ! -s "$folder/log" ] || tail -n 20 "$folder/log" >&2
    exit 1
}
ctl() { "$BUILD/hakmemctl" --socket "$socket" "$@"; }

# number KEY: its value in the JSON on stdin, whether it stands on one line or on many.
number() { tr ',{}' '\n\n\n' | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*\([0-9]*\).*/\1/p" | head -n 1; }

# until_true COMMAND...: asks every 50 ms, for at most 15 s, while the daemon lives.
until_true() {
    tries=300
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && kill -0 "$daemon" 2>/dev/null || return 1
        sleep 0.05
    done
}
answers() { ctl ping >/dev/null 2>&1; }
is_stocked() {
    ctl --json pool >"$folder/pool" &&
        [ "$(number stock_bytes <"$folder/pool")" -ge "$(number target_bytes <"$folder/pool")" ]
}
is_all_back() {
    ctl --json stats >"$folder/stats" && [ "$(number leased_bytes <"$folder/stats")" -eq 0 ] &&
        [ "$(number orphan_bytes <"$folder/stats")" -eq 0 ]
}

"$BUILD/hakmemd" --config /dev/null --socket "$socket" >"$folder/log" 2>&1 &
daemon=$!
until_true answers || fail "hakmemd did not start"
until_true is_stocked || fail "the stock was not filled"

# run NAME PROGRAM: one round; its throughput goes to NAME.ops, its cost to NAME.usage, the library's figures to NAME.stats.
run() {
    HAKMEM_SOCKET=$socket HAKMEM_STATS=1 "$BUILD/run-usage" "$folder/$1.usage" \
        "$BUILD/$2" "$ITERATIONS" "$WORKING_SET" "$SEED" >"$folder/out" 2>"$folder/err" ||
        fail "$2 failed: $(cat "$folder/err")"
    cat "$folder/err" >>"$folder/$1.stats"
    sed -n 's/^Throughput = *\([0-9]*\) ops.*/\1/p' "$folder/out" >>"$folder/$1.ops"
}
# row NAME LABEL: its line of the table.
row() {
    sort -n "$folder/$1.ops" | awk -v label="$2" -v usage="$folder/$1.usage" '
        { ops[NR] = $1 }
        END {
            while ((getline line < usage) > 0) {
                n = split(line, parts, /[ =]/)
                for (i = 1; i < n; i += 2) value[parts[i]] = parts[i + 1]
                user += value["user"]; kernel += value["kernel"]
                if (value["max_rss_kib"] + 0 > rss) rss = value["max_rss_kib"] + 0
            }
            median = NR % 2 ? ops[(NR + 1) / 2] : (ops[NR / 2] + ops[NR / 2 + 1]) / 2
            printf "  %-16s %7.1f M   %6.1f .. %-6.1f %8.1f %%  %7.2f s  %7.1f MiB\n", label,
                median / 1e6, ops[1] / 1e6, ops[NR] / 1e6,
                user + kernel ? 100 * kernel / (user + kernel) : 0, (user + kernel) / NR, rss / 1024
        }'
}
median() { sort -n "$folder/$1.ops" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }

round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    run glibc bench_random_mixed
    run hakmem bench_random_mixed_hakmem
done

echo "random_mixed $ITERATIONS $WORKING_SET $SEED: allocate or free 16..1039 bytes at random; $ROUNDS rounds in turn"
echo
echo "                      median   slowest .. fastest    kernel   CPU time   peak RSS"
row glibc "glibc malloc"
row hakmem "hakmem"
echo
awk -v a="$(median glibc)" -v b="$(median hakmem)" 'BEGIN {
    printf "  operations per second: hakmem makes %.2f times those of glibc malloc\n", b / a }'

# numbers KEY: its value in each round's line from the library. greatest, total: of such numbers.
numbers() { while read -r line; do echo "$line" | number "$1"; done <"$folder/hakmem.stats"; }
greatest() { sort -n | tail -n 1; }
total() { awk '{ sum += $1 } END { print sum + 0 }'; }
[ "$(numbers leased_bytes | wc -l)" -eq "$ROUNDS" ] || fail "no HAKMEM_STATS line from the library"
leased=$(numbers leased_bytes | greatest)
echo "  served, at most:       $(mib "$leased") leased by hakmemd, $(mib "$(numbers private_bytes | greatest)") private," \
    "$(numbers syscalls | greatest) system calls for memory"
echo "  fallbacks:             $(numbers fallbacks | total) in all $ROUNDS rounds (private memory where a lease was wanted)"
[ "$leased" -gt 0 ] || fail "the daemon served nothing"

# The daemon learns of an exit from its socket: a moment later.
came_back=yes
until_true is_all_back || came_back=no
echo
echo "hakmemctl stats"
ctl stats | sed 's/^/  /'
echo
leased=$(number leased_bytes <"$folder/stats") orphans=$(number orphan_bytes <"$folder/stats")
[ "$came_back" = yes ] || fail "not everything came back: leased $leased, orphans $orphans"

kill -TERM "$daemon"
result=0
wait "$daemon" || result=$?
daemon=
[ "$result" -eq 0 ] || fail "hakmemd ended with $result"
echo "everything came back: leased $leased, orphans $orphans; hakmemd has stopped"
