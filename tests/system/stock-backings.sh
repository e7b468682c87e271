#!/bin/sh
# What the stock's pages are: each pool.backing under each shmem_enabled, and hugetlb with pages set aside, with too few and
# with none. What is achieved is measured; a program is served in every case.
# runs alone: it changes shmem_enabled and vm.nr_hugepages.
. "$(dirname "$0")/../lib.sh"
need_library
need python3 flock
knob=/sys/kernel/mm/transparent_hugepage/shmem_enabled
[ -w "$knob" ] && [ -w /proc/sys/vm/nr_hugepages ] || skip "must be root to change $knob and vm.nr_hugepages"
# Both are the whole host's: one such test at a time, and put back whatever happens.
exec 7>/tmp/shmem_enabled.lock
flock -w 120 7 || skip "$knob is being changed by somebody else"
was=$(sed 's/.*\[\(.*\)\].*/\1/' "$knob")
was_pages=$(cat /proc/sys/vm/nr_hugepages)
trap 'status=$?; echo "$was" >"$knob"; (exit $status); cleanup' EXIT
pages_trap() {
    trap 'status=$?; echo "$was" >"$knob"; echo "$was_pages" >/proc/sys/vm/nr_hugepages; (exit $status); cleanup' EXIT
}

pool_word() { "$BUILD/hakmemctl" --socket "$socket" --json pool | sed -n 's/.*"'"$1"'": "\([^"]*\)".*/\1/p'; }
stock_is_full() { [ "$(daemon_figure stock_bytes)" -ge 67108864 ]; }
# begin BACKING [OPTION...]: a daemon with a full stock.
begin() {
    [ -z "$daemon_pid" ] || daemon_stop
    backing=$1
    shift
    daemon_start -o pool.min=64M -o pool.max=64M -o "pool.backing=$backing" "$@" 7>&-
    poll 30 stock_is_full || fail "$backing: the stock does not fill: $(daemon_figure stock_bytes)"
}
# served WHAT: programs are served right, one with a child by fork among them.
served() {
    under_hakmem "$programs/prog-decay" 40000000 </dev/null 2>"$scratch/err" 7>&- || fail "$1: a program ends with $?"
    expect_stats "$scratch/err" leased_bytes -gt 10000000
    expect_all_back
    under_hakmem python3 -c 'import os
x = [bytearray(b"x") * 40000 for i in range(500)]
child = os.fork()
if child == 0:
    for y in x: y[0] = 121
    os._exit(0 if all(y[0] == 121 and y[39999] == 120 for y in x) else 1)
assert os.waitpid(child, 0)[1] == 0
assert all(y[0] == 120 and y[39999] == 120 for y in x)
for y in x: y[1] = 122
assert all(y[1] == 122 for y in x)' 2>"$scratch/err" 7>&- || fail "$1: a program ends with $?: $(tail -n 3 "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 10000000
    expect_all_back
}
# expect WHAT ACHIEVED HUGE_BYTES
expect() {
    achieved=$(pool_word backing_achieved) huge=$(daemon_figure stock_huge_bytes)
    [ "$achieved" = "$2" ] && [ "$huge" -eq "$3" ] || fail "$1: achieved $achieved, $huge bytes in 2 MiB pages; wanted $2, $3"
    echo "$1: $achieved, $huge bytes in 2 MiB pages"
    served "$1"
}

full=67108864
for setting in never advise always; do
    echo $setting >"$knob" || skip "$knob cannot be changed"
    case $setting in
    never) auto=collapse thp="4k 0" ;;
    *) auto=thp thp="thp $full" ;;
    esac
    begin auto
    if [ "$(daemon_figure stock_huge_bytes)" -ne $full ] && [ "$setting" = never ]; then
        skip "the kernel does not collapse shared memory, or has no 2 MiB pages left"
    fi
    expect "auto, $setting" $auto $full
    begin thp
    # shellcheck disable=SC2086
    expect "thp, $setting" $thp
    begin 4k
    expect "4k, $setting" 4k 0
done
echo "$was" >"$knob"

# hugetlb: none set aside. The stock is of ordinary 2 MiB pages, and the log says why.
pages_trap
echo 0 >/proc/sys/vm/nr_hugepages
begin hugetlb
[ "$(pool_word backing_achieved)" != hugetlb ] || fail "hugetlb without hugetlb pages"
[ "$(daemon_figure prewarm_errors_total)" -gt 0 ] || fail "no failure counted"
grep -q 'hugetlb pages (vm.nr_hugepages?), using 2 MiB shmem' "$scratch/daemon.log" || fail "no word of it in the log"
served "hugetlb, none set aside"
# As many as the stock wants, and more: it is of them, and they come back.
echo 64 >/proc/sys/vm/nr_hugepages
[ "$(cat /proc/sys/vm/nr_hugepages)" -eq 64 ] || skip "the kernel has no 64 pages of 2 MiB to set aside; the others passed"
begin hugetlb
expect "hugetlb, enough" hugetlb $full
# Too few: some are of them, the rest is not, and nobody is killed for it.
daemon_stop
echo 16 >/proc/sys/vm/nr_hugepages
begin hugetlb
[ "$(daemon_figure prewarm_errors_total)" -gt 0 ] || fail "no failure counted"
served "hugetlb, too few"
daemon_stop
free_pages() { sed -n 's/^HugePages_Free:[[:space:]]*//p' /proc/meminfo; }
pages_are_back() { [ "$(free_pages)" -eq 16 ]; }
poll 10 pages_are_back || fail "$(free_pages) of 16 pages are free"
