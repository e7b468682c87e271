#!/bin/sh
# After a phase of frees the host gets back all but the pages in which survivors lie, though a few are left in nearly every
# SuperSlab: leased memory and private. No byte of theirs is lost by it, and what is used again is as new. A child that
# was forked at that moment keeps its copy.
. "$(dirname "$0")/../lib.sh"
need_library
bytes=150000000 every=40

# Of the program's leases, in bytes: pages in the files, mapped or not. Its descriptors are of these files.
pages_in_files() {
    for fd in /proc/"$program"/fd/*; do
        case $(readlink "$fd") in *memfd:*) stat -L -c %b "$fd" ;; esac
    done | awk '{ sum += $1 } END { printf "%.0f\n", sum * 512 }'
}
resident() {
    awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$program/status"
}
# start RUN [ARGUMENT]: until the blocks are freed; sets `program`, `pages`.
start() {
    run=$1
    shift
    "$run" "$programs/prog-purge" $bytes $every "$@" <"$scratch/words" >"$scratch/out" 2>"$scratch/err" &
    shell=$!
    background_pids="$background_pids $shell"
    poll 60 grep -q pages "$scratch/out" || fail "$run: the program does not come to its end: $(cat "$scratch/err")"
    program=$(cat "/proc/$shell/task/$shell/children")
    # A shell that became the program.
    program=${program:-$shell} program=${program%% *}
    pages=$(awk '/^pages/ { print $2 }' "$scratch/out")
}
# A word on its input: it checks itself.
finish() {
    echo >&9
    wait "$shell" || fail "$1: status $?: $(cat "$scratch/err")"
    tail -n 1 "$scratch/err" | grep -q '"purge_failures": 0,' || fail "$1: failures: $(cat "$scratch/err")"
}
begin_input() {
    rm -f "$scratch/words"
    mkfifo "$scratch/words"
    exec 9<>"$scratch/words"
}
# A tenth above the survivors' pages, and what small heaps have: the first SuperSlab, thread cache, metadata.
is_back() { [ "$("$1")" -le $((pages * 11 / 10 + 8000000)) ]; }

[ $((bytes / 4)) -gt 8000000 ] || fail "the bound says nothing"
daemon_start_warm -o reclaim.idle_ms=200
begin_input
start under_hakmem
before=$(pages_in_files)
poll 60 is_back pages_in_files || fail "of $before bytes $(pages_in_files) are still in the files; survivors' pages: $pages"
after=$(pages_in_files)
finish leased
expect_stats "$scratch/err" purged_bytes -gt $((bytes / 5))
echo "leased: $before bytes in files, then $after; survivors' pages $pages"
expect_all_back

begin_input
start under_hakmem fork
finish "leased, with a child"
expect_all_back

# One that no handler of ours knows of, and whose idea of what is free is the heap's of long ago.
under_hakmem "$programs/prog-purge" $bytes $every raw >"$scratch/out" 2>"$scratch/err" ||
    fail "a raw child: $(cat "$scratch/err")"
expect_all_back

begin_input
start under_private
poll 60 is_back resident || fail "private: $(resident) resident; survivors' pages: $pages"
echo "private: $(resident) resident; survivors' pages $pages"
finish private
