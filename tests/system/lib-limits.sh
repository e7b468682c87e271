#!/bin/sh
# Never worse than without, under limits: a program whose address space is too small for a heap of ours, or that locks its memory
# (without privilege) before or after its first request, has what it would have of the C library's malloc.
. "$(dirname "$0")/../lib.sh"
need_library
need sort perl

# In KiB. Just above what the program needs without: hardly any, and some, is left for a window.
for limit in 20000 40000 60000 100000 200000 400000; do
    for command in 'sort /etc/passwd' 'perl -e "print length(q(a) x 5000000)"'; do
        (ulimit -v "$limit" && eval "$command") >"$scratch/plain" 2>&1 ||
            fail "$limit KiB are too few without the library, too: $command"
        (ulimit -v "$limit" && eval "HAKMEM_CONNECT=off LD_PRELOAD=$library $command") >"$scratch/out" 2>&1 ||
            fail "ulimit -v $limit: $command: $(tail -n 3 "$scratch/out")"
        cmp -s "$scratch/plain" "$scratch/out" || fail "ulimit -v $limit: $command: $(tail -n 3 "$scratch/out")"
    done
done

# lock WHEN FLAGS LIMIT_MIB N_KIB
lock() {
    HAKMEM_CONNECT=off LD_PRELOAD=$library "$programs/prog-mlockall" "$@" 2>"$scratch/err"
    status=$?
    [ "$status" -ne 77 ] || skip "$(tail -n 1 "$scratch/err")"
    [ "$status" -eq 0 ] || fail "mlockall $*: $(tail -n 1 "$scratch/err")"
}
for flags in c f cf cfo; do
    lock before "$flags" 8 1000
    lock after "$flags" 64 1000
    lock after "$flags" 64 30000
done
