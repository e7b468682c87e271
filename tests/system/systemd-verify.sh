#!/bin/sh
# The units, as installed, are accepted by systemd; the service is as confined as it was when it was written; the folder,
# the user and the kernel's setting come about as meant.
set -eu
: "${BUILD:=build}"
for tool in systemd-analyze systemd-tmpfiles systemd-sysusers; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# An unprefixed root, so that paths in the units are those of the files.
make --no-print-directory -s BUILD="$BUILD" PREFIX="$folder/usr" SYSCONFDIR="$folder/etc" DESTDIR=/ install >"$folder/log" 2>&1 ||
    { cat "$folder/log"; exit 1; }
units=$folder/usr/lib/systemd/system

# verify prints warnings and succeeds: here each line about our units is a failure.
SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --man=no "$units/hakmemd.service" "$units/hakmemd.socket" >"$folder/verify" 2>&1 ||
    { cat "$folder/verify"; exit 1; }
if grep -i hakmem "$folder/verify"; then
    echo "systemd-analyze verify complains"
    exit 1
fi

# And one that must be refused, or this test could not fail.
sed 's/^Type=notify/Type=nothing/; s/^ExecStart=.*/ExecStart=relative/' "$units/hakmemd.service" >"$folder/broken.service"
if systemd-analyze verify --man=no "$folder/broken.service" >/dev/null 2>&1; then
    echo "systemd-analyze accepts a broken unit"
    exit 1
fi

exposure=$(systemd-analyze security --offline=yes --no-pager "$units/hakmemd.service" |
    sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p')
echo "exposure: $exposure of 10"
awk -v level="$exposure" 'BEGIN { exit !(level != "" && level <= 2.0) }' ||
    { echo "the service is less confined than it can be"; exit 1; }

if [ "$(id -u)" -ne 0 ]; then
    echo "units are as meant; user and folder need root to be tried"
    exit 0
fi
# The tmpfiles rules on a root of our own, with the kernel's file in it, and without.
root=$folder/root
setting=sys/kernel/mm/transparent_hugepage
mkdir -p "$root/$setting" "$root/etc"
echo "root:x:0:0::/:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
echo never >"$root/$setting/shmem_enabled"
systemd-tmpfiles --create --root="$root" "$folder/usr/lib/tmpfiles.d/hakmem.conf"
[ "$(cat "$root/$setting/shmem_enabled")" = advise ] || { echo "shmem_enabled is not written"; exit 1; }
[ "$(stat -c %a "$root/run/hakmem")" = 755 ] || { echo "no /run/hakmem"; exit 1; }
rm -r "$root/sys"
systemd-tmpfiles --create --root="$root" "$folder/usr/lib/tmpfiles.d/hakmem.conf" 2>/dev/null ||
    { echo "a kernel without huge pages makes systemd-tmpfiles fail"; exit 1; }
systemd-sysusers --root="$root" "$folder/usr/lib/sysusers.d/hakmem.conf"
grep -q '^hakmem:' "$root/etc/passwd" || { echo "no user hakmem"; exit 1; }
echo "units, user and folder are as meant"
