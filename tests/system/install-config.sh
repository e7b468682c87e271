#!/bin/sh
# hakmemd.conf as it is shipped names every key that the daemon knows, each with its default, and so does its manual page.
set -eu
: "${BUILD:=build}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$BUILD/hakmemd" --config systemd/hakmemd.conf --check-config
# The keys the daemon itself knows, from its tables; but [host], which is for tests of other hosts than this one.
keys=$(sed -n 's/^ *{"\([a-z]*\)", "\([a-z_0-9]*\)", KEY_.*/\1.\2/p' hakmemd/config.c
    sed -n 's/^ *{"\([a-z_0-9]*\)", AT(.*/quota.\1/p' hakmemd/quota.c)
keys=$(echo "$keys" | grep -v '^host\.')
echo "$keys" | grep -q '^quota\.bytes_per_user$' || { echo "hakmemd/quota.c: no table of keys found"; exit 1; }
[ "$(echo "$keys" | wc -l)" -ge 10 ] || { echo "hakmemd/config.c: no table of keys found"; exit 1; }
# section.key = value of each key in the file, commented out or not; the users' section aside.
shipped=$(awk '/^#*\[/ { section = $0; gsub(/[][#]/, "", section); next }
    section !~ /^user:/ && match($0, /^#*[a-z_0-9]+ = /) { line = $0; sub(/^#/, "", line); print section "." line }' systemd/hakmemd.conf)
for key in $keys; do
    echo "$shipped" | grep -q "^$key = " || { echo "systemd/hakmemd.conf lacks $key"; exit 1; }
    section=${key%%.*} name=${key#*.}
    awk -v section=".Ss [$section]" -v item=".It Ic $name" '
        /^\.Ss/ { inside = $0 == section } inside && $0 == item { found = 1 } END { exit !found }' man/hakmemd.conf.5 ||
        { echo "hakmemd.conf(5) lacks $key"; exit 1; }
done
# With all comments taken away it is still a configuration: no key is misspelt, no default impossible.
sed -n '/^#\[user:/q; s/^#\([a-z_0-9]* = .*\)/\1/; p' systemd/hakmemd.conf >"$folder/all.conf"
[ "$(grep -c ' = ' "$folder/all.conf")" -eq "$(echo "$keys" | wc -l)" ] || { echo "more keys than the daemon knows"; exit 1; }
"$BUILD/hakmemd" --config "$folder/all.conf" --check-config
printf '[user:root]\nbytes_per_user = 32G\nbytes_per_client = 16G\nclients_per_user = 500\n' >>"$folder/all.conf"
"$BUILD/hakmemd" --config "$folder/all.conf" --check-config
printf '[pool]\nmini = 1M\n' >"$folder/wrong.conf"
if "$BUILD/hakmemd" --config "$folder/wrong.conf" --check-config 2>/dev/null; then
    echo "a misspelt key is accepted"
    exit 1
fi
echo "the configuration file is complete"
