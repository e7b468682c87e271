#!/bin/sh
# No byte crosses: a program fills its heap and ends; the next ones, of the same user and then of another, look for its
# pattern in all of their fresh memory. The same user gets the same extents again (scrubbed), the other one gets new ones.
. "$(dirname "$0")/../lib.sh"
need_library
need setpriv
[ "$(id -u)" -eq 0 ] || skip "only root can run programs as somebody else"
traces=$programs/prog-traces
# Another user has to reach the library and the program: copies, where everybody may look.
cp "$library" "$traces" "$scratch/"
library=$scratch/libhakmem.so
traces=$scratch/prog-traces

# A stock that has room for all of it: above its target the daemon would rather discard than keep.
daemon_start_warm -o pool.min=512M -o pool.max=2G -o pool.recycled_ms=60000

round() { # round UID
    uid=$1
    as="setpriv --reuid=$uid --regid=$uid --clear-groups"
    # shellcheck disable=SC2086
    left=$(under_hakmem $as "$traces" leave 60 2>"$scratch/err") || fail "uid $uid: leave: $(cat "$scratch/err")"
    [ "$left" -gt 7000000 ] || fail "the program left only $left words"
    expect_stats "$scratch/err" leased_bytes -gt 50000000
    expect_all_back
    poll 10 scrubbed || fail "nothing is scrubbed"
    before=$(daemon_figure reused_bytes_total)
    # shellcheck disable=SC2086
    found=$(under_hakmem $as "$traces" seek 60 2>"$scratch/err") || fail "uid $uid: seek: $(cat "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 50000000
    [ "$found" -eq 0 ] || fail "the same user (uid $uid) finds $found words"
    [ "$(daemon_figure reused_bytes_total)" -gt "$before" ] || fail "nothing was used again, so nothing is shown: $("$BUILD/hakmemctl" --socket "$socket" stats)"
    expect_all_back
    other=$((uid + 1))
    # shellcheck disable=SC2086
    found=$(under_hakmem setpriv --reuid=$other --regid=$other --clear-groups "$traces" seek 60 2>"$scratch/err") ||
        fail "uid $other: seek: $(cat "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 50000000
    [ "$found" -eq 0 ] || fail "another user (uid $other) finds $found words"
    expect_all_back
    echo "uid $uid left $left words; neither it nor uid $other found one"
}
scrubbed() { [ "$(daemon_figure scrubbing_bytes)" -eq 0 ] && [ "$(daemon_figure scrubbed_bytes_total)" -gt 0 ]; }
round 65530
round 65532
