#!/bin/sh
# A block of ten SuperSlabs is made of extents of eight and two, side by side: one of sixteen would leave twelve MiB unused.
# The daemon may have no such extents in stock at the moment; then it is some other way, and tried again.
. "$(dirname "$0")/../lib.sh"
need_library
daemon_start_warm -o pool.min=64M

is_stocked() { [ "$(daemon_figure stock_bytes)" -ge 67108864 ]; }
# served BYTES KEY OPERATOR VALUE...: a block of so many leaves such figures.
served() {
    bytes=$1
    shift
    for try in 1 2 3 4 5 6; do
        poll 20 is_stocked || fail "the stock does not fill"
        under_hakmem "$programs/prog-large" "$bytes" 2>"$scratch/err" || fail "$(cat "$scratch/err")"
        expect_all_back
        holds_all "$@" && return
    done
    fail "$bytes bytes, $try times: leased $(stats_sum "$scratch/err" leased_bytes) at last, not $*"
}
holds_all() {
    while [ $# -ge 3 ]; do
        [ "$(stats_sum "$scratch/err" "$1")" "$2" "$3" ] || return 1
        shift 3
    done
}
served 20971520 leased_bytes -ge 20971520 leased_bytes -le 25165824 private_bytes -le 2097152
# Where the next larger extent leaves little, it is that one.
served 14680064 leases -eq 1 leased_bytes -ge 14680064
