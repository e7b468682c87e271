#!/bin/sh
# Under each of the quotas, met: the program runs as ever, on private memory where it got none, and counts that.
. "$(dirname "$0")/../lib.sh"
need_library

# grow_under OPTION...: a program that wants 40 MB, under a daemon with these quotas.
grow_under() {
    daemon_start_warm "$@"
    printf 'grow 40\ncheck\nfree\ngrow 10\ncheck\n' >"$scratch/steps"
    under_hakmem ${wait_us:+HAKMEM_WAIT_US=$wait_us} "$programs/prog-steps" <"$scratch/steps" >"$scratch/out" 2>"$scratch/err" ||
        fail "$*: status $?: $(cat "$scratch/out" "$scratch/err")"
    [ "$(grep -c '^ok$' "$scratch/out")" -eq 5 ] || fail "$*: $(cat "$scratch/out")"
    echo "$*: $(tail -n 1 "$scratch/err")"
}
# Refused: a fallback for each, and the daemon says so, too.
for quota in bytes_per_user=2M bytes_per_client=2M clients_per_user=0 descriptors_per_user=0; do
    grow_under -o "quota.$quota"
    expect_stats "$scratch/err" fallbacks -gt 0
    expect_stats "$scratch/err" private_bytes -gt 2097152
    [ "$(daemon_figure denied_quota_total)" -gt 0 ] || fail "$quota: nothing was denied"
    daemon_stop
done
# Too fast for its rate: the answers come late, later than the program waits, and nothing is refused.
wait_us=2000
grow_under -o quota.requests_per_second=1
wait_us=
expect_stats "$scratch/err" fallbacks -gt 0
[ "$(daemon_figure throttled_total)" -gt 0 ] || fail "requests_per_second: nobody was throttled"
[ "$(daemon_figure denied_total)" -eq 0 ] || fail "requests_per_second: something was denied"
daemon_stop
# And with room for all of it there is no fallback: the figures above say something.
grow_under -o quota.requests_per_second=100000
expect_stats "$scratch/err" leased_bytes -ge 20000000
