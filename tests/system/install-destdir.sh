#!/bin/sh
# make install into a DESTDIR yields every file, and a program compiled against what was installed, by pkg-config, links,
# runs and is served by the library; make uninstall takes everything away but the configuration.
set -eu
: "${BUILD:=build}"
: "${CC:=cc}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
install_make() { make --no-print-directory -s BUILD="$BUILD" DESTDIR="$root" PREFIX=/opt/hakmem "$@"; }

install_make install
for file in sbin/hakmemd bin/hakmemctl lib/libhakmem.so.0 lib/libhakmem.so lib/libhakmem.a include/hakmem.h \
    lib/pkgconfig/hakmem.pc lib/systemd/system/hakmemd.service lib/systemd/system/hakmemd.socket \
    lib/sysusers.d/hakmem.conf lib/tmpfiles.d/hakmem.conf share/man/man1/hakmemctl.1 share/man/man3/hak_api.3 \
    share/man/man5/hakmemd.conf.5 share/man/man7/libhakmem.7 share/man/man8/hakmemd.8; do
    [ -s "$root/opt/hakmem/$file" ] || { echo "missing: $file"; exit 1; }
done
[ -s "$root/etc/hakmem/hakmemd.conf" ] || { echo "missing: hakmemd.conf"; exit 1; }
[ "$(readlink "$root/opt/hakmem/lib/libhakmem.so")" = libhakmem.so.0 ]
grep -q '^ExecStart=/opt/hakmem/sbin/hakmemd' "$root/opt/hakmem/lib/systemd/system/hakmemd.service"
if grep -rl '@[A-Z]*@' "$root/opt/hakmem/lib/pkgconfig" "$root/opt/hakmem/lib/systemd"; then
    echo "a placeholder is left"
    exit 1
fi
"$root/opt/hakmem/sbin/hakmemd" --config "$root/etc/hakmem/hakmemd.conf" --check-config

cat >"$folder/program.c" <<'PROGRAM'
#include <hakmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    char *block = malloc(1000), on_stack;
    if (!block)
        return 1;
    memset(block, 1, 1000);
    struct hak_stats stats;
    if (hak_stats(&stats, sizeof(stats)) != 0)
        return 2;
    if (hak_owns(block) == HAK_OWNER_NONE || hak_owns(&on_stack) != HAK_OWNER_NONE)
        return 3;
    free(block);
    puts(hak_version());
    return 0;
}
PROGRAM
export PKG_CONFIG_PATH="$root/opt/hakmem/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
version=$(pkg-config --modversion hakmem)
$CC -Wall -Werror -o "$folder/shared" "$folder/program.c" $(pkg-config --cflags --libs hakmem)
$CC -Wall -Werror -o "$folder/static" "$folder/program.c" $(pkg-config --cflags hakmem) \
    "$root/opt/hakmem/lib/libhakmem.a" -lpthread
export HAKMEM_CONNECT=off
[ "$(LD_LIBRARY_PATH=$root/opt/hakmem/lib "$folder/shared")" = "$version" ] || { echo "shared: fails"; exit 1; }
readelf -d "$folder/shared" | grep -q 'NEEDED.*libhakmem.so.0' || { echo "the soname is not libhakmem.so.0"; exit 1; }
[ "$("$folder/static")" = "$version" ] || { echo "static: fails"; exit 1; }

# The installed hakmemctl finds the installed library and daemon.
unset HAKMEM_CONNECT
"$root/opt/hakmem/bin/hakmemctl" --socket "$folder/none" run -- env >"$folder/env"
grep -q "^LD_PRELOAD=$root/opt/hakmem/lib/libhakmem.so" "$folder/env" || { echo "run: another library"; exit 1; }

# What the administrator changed survives a second installation; nothing but that survives the uninstallation.
echo "# mine" >>"$root/etc/hakmem/hakmemd.conf"
install_make install
grep -q '^# mine' "$root/etc/hakmem/hakmemd.conf" || { echo "install overwrites the configuration"; exit 1; }
install_make uninstall
left=$(find "$root" ! -type d | sort)
[ "$left" = "$root/etc/hakmem/hakmemd.conf" ] || { echo "left behind: $left"; exit 1; }
echo "installed, used, taken away"
