#!/bin/sh
# HAKMEM_FOREIGN=next hands pointers of another allocator to that one: of one that stands behind the library in the symbol
# search (lib-foreign-second.c), and of the C library. Without it they are misuse, and so with it are the library's own.
. "$(dirname "$0")/../lib.sh"
need_library
need cc
foreign=$programs/prog-foreign
cc -O1 -fPIC -shared -o "$scratch/second.so" "$tests/system/lib-foreign-second.c" || fail "the second allocator does not compile"
ulimit -c 0

# run PRELOAD WHAT [SETTING...]: $status and $scratch/err.
run() {
    run_preload=$1 run_what=$2
    shift 2
    env LD_PRELOAD="$run_preload" HAKMEM_CONNECT=off "$@" "$foreign" "$run_what" >"$scratch/out" 2>"$scratch/err"
    status=$?
}
both=$library:$scratch/second.so
for check in 0 1; do
    for pair in "$both second" "$library libc"; do
        preload=${pair% *} what=${pair#* }
        run "$preload" "$what" HAKMEM_FOREIGN=next HAKMEM_CHECK=$check
        [ "$status" -eq 0 ] || fail "$what, next, check $check: status $status: $(cat "$scratch/err")"
        run "$preload" "$what" HAKMEM_CHECK=$check
        [ "$status" -eq 134 ] || fail "$what, no setting, check $check: not stopped: status $status"
        grep -q "^hakmem: invalid free: not a pointer from this allocator: 0x" "$scratch/err" ||
            fail "$what, no setting, check $check: $(cat "$scratch/err")"
    done
    # Nobody's pointer is the next one's to judge, and it does; what is the library's own never gets there.
    run "$both" stack HAKMEM_FOREIGN=next HAKMEM_CHECK=$check
    [ "$status" -eq 3 ] && grep -q '^second: not mine' "$scratch/err" || fail "stack: status $status: $(cat "$scratch/err")"
    run "$both" own HAKMEM_FOREIGN=next HAKMEM_CHECK=$check
    [ "$status" -eq 134 ] && grep -q '^hakmem: double free of 0x' "$scratch/err" ||
        fail "own: status $status: $(cat "$scratch/err")"
done
