#!/bin/sh
# Checks the model of the ledger with spin: the protocol as it is must be without an error, with an honest client and with a
# hostile one; in each broken variant spin must find an error, or the model is too weak to say anything.
#   check.sh [FOLDER FOR SPIN'S FILES]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/compare-transitions.sh"
command -v spin >/dev/null || { echo "spin is not installed"; exit 77; }
work=${1:-$(mktemp -d)}
mkdir -p "$work"
[ $# -gt 0 ] || trap 'rm -rf "$work"' EXIT
cd "$work"

# search NAME FLAG...: spin's exhaustive search; its verdict in $errors.
search() {
    name=$1
    shift
    spin "$@" -a "$here/ledger.pml" >spin.out || { cat spin.out; exit 1; }
    # States are collapsed to fit into some hundred megabytes.
    ${CC:-cc} -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c
    ./pan -m200000 >"$name.out" 2>&1
    ! grep -qE 'Search not completed|max search depth too small|out of memory' "$name.out" || incomplete=1
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$name.out")
    states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' "$name.out")
    rm -f pan
}

for variant in honest "hostile -DHOSTILE" "restarted -DRESTART" "restarted-hostile -DRESTART -DHOSTILE"; do
    incomplete=0
    # shellcheck disable=SC2086
    search $variant
    if [ "$errors" != 0 ] || [ "$incomplete" -ne 0 ]; then
        echo "${variant%% *}: $errors errors (spin -t -p -g -l $here/ledger.pml shows how)"
        grep -E '^pan' "$name.out"
        exit 1
    fi
    echo "${variant%% *} client: $states states, no error"
done
for broken in LOSS PIN TAKE END PROOF "KEEP -DRESTART" "ADOPT -DRESTART" "BACK -DRESTART" "FORGET -DRESTART"; do
    # shellcheck disable=SC2086
    set -- $broken
    broken=$1
    shift
    search "broken-$broken" "-DBROKEN_$broken" "$@"
    [ "$errors" != 0 ] || { echo "BROKEN_$broken: spin finds nothing wrong: the model is too weak"; exit 1; }
    echo "BROKEN_$broken: found, $(sed -n 's/^pan:1: //p' "broken-$broken.out")"
done
echo "the model holds"
