#!/bin/sh
# The library by the other ways than LD_PRELOAD: dlopen() at run time (its thread-local memory must fit into what the
# loader has left), linked as a shared library, linked as an archive, and in a fully static program.
. "$(dirname "$0")/../lib.sh"
need_library
need cc
daemon_start_warm
root=$(cd "$tests/.." && pwd)

HAKMEM_SOCKET=$socket HAKMEM_STATS=1
export HAKMEM_SOCKET HAKMEM_STATS
"$programs/prog-dlopen" "$library" >"$scratch/out" 2>"$scratch/err" || fail "dlopen: $(cat "$scratch/out" "$scratch/err")"

# linked HOW FLAG...: the edges and the model, linked so.
linked() {
    linked_how=$1
    shift
    for program in malloc-edges malloc-model; do
        cc -std=gnu11 -O1 -w -fno-builtin -D_GNU_SOURCE -I"$root" -o "$scratch/$program" "$root/tests/system/prog-$program.c" "$@" ||
            fail "$linked_how: does not link"
    done
    LD_LIBRARY_PATH=$BUILD "$scratch/malloc-edges" >/dev/null 2>"$scratch/err" || fail "$linked_how: $(cat "$scratch/err")"
    LD_LIBRARY_PATH=$BUILD HAKMEM_WAIT_US=5000000 "$scratch/malloc-model" 2 2 1 100 >/dev/null 2>"$scratch/err" ||
        fail "$linked_how: $(cat "$scratch/err")"
    expect_stats "$scratch/err" leased_bytes -gt 0
    echo "$linked_how: ok"
}
ln -s "$library" "$scratch/libhakmem.so.0"
linked shared "$library" -Wl,-rpath,"$scratch" -lpthread -ldl
linked archive "$BUILD/libhakmem.a" -lpthread -ldl
linked static -static "$BUILD/libhakmem.a" -lpthread -ldl
# Whatever is linked with the archive sees our public names and none of our own.
internal=$(nm "$BUILD/libhakmem.a" 2>/dev/null | awk '$2 ~ /[TDBRV]/ { print $3 }' |
    grep -vE '^(hak_[a-z0-9_]+|malloc|free|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|memalign|valloc|pvalloc|cfree|free_sized|free_aligned_sized|malloc_[a-z_]+|mallinfo2?|mallopt|_?_?fork|_Fork|clone|mlockall|__libc_[a-z]+|__malloc_[a-z_]+)$')
[ -z "$internal" ] || fail "the archive exports $internal"
# And the shared library depends on libc alone.
needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc\.so|ld-linux|libpthread\.so|libubsan\.so)')
[ -z "$needed" ] || fail "the library needs $needed"
expect_all_back
