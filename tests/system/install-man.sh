#!/bin/sh
# The man pages are well formed for both formatters people have, and name only pages that exist.
set -eu
tried=0
for page in man/*.[1-8]; do
    if command -v mandoc >/dev/null; then
        tried=1
        mandoc -Tlint -W warning "$page"
    fi
    if command -v man >/dev/null && command -v groff >/dev/null; then
        tried=1
        said=$(LC_ALL=C.UTF-8 MANROFFOPT='-ww' man --warnings -E UTF-8 -l -Tutf8 "$page" 2>&1 >/dev/null)
        [ -z "$said" ] || { echo "$page: $said"; exit 1; }
    fi
done
[ "$tried" -eq 1 ] || { echo "neither mandoc nor man is installed"; exit 77; }

# Pages of ours that are referred to are there.
for reference in $(sed -n 's/^\.Xr \(hak[a-z_.]*\|libhakmem\) \([1-8]\).*/\1.\2/p' man/*.[1-8] | sort -u); do
    [ -e "man/$reference" ] || { echo "no man page $reference"; exit 1; }
done
# Each command of hakmemctl is described, and each option of the daemon.
for command in $("${BUILD:-build}/hakmemctl" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
    grep -Eq "^\.(It|Nm) Cm $command|^\.It Cm $command|^\.Cm $command" man/hakmemctl.1 ||
        { echo "hakmemctl(1) does not describe $command"; exit 1; }
done
# Each variable that the library reads is described; those for its own tests aside.
for variable in $(sed -n 's/.*getenv("\(HAKMEM_[A-Z_]*\)").*/\1/p' libclient/*.c | grep -v '^HAKMEM_TEST_'); do
    grep -q "^\.It Ev $variable$" man/libhakmem.7 || { echo "libhakmem(7) does not describe $variable"; exit 1; }
done
# Each function of the header is in its page.
for function in $(sed -n 's/^[a-z].*[ *]\(hak_[a-z_]*\)(.*/\1/p' libclient/hakmem.h); do
    grep -q "^\.Fn $function" man/hak_api.3 || { echo "hak_api(3) does not describe $function"; exit 1; }
done
echo "man pages are well formed"
