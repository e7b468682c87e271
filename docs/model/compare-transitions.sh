#!/bin/sh
# Are the transitions of docs/model/ledger.pml those of common/ledger.h? Asks the header's own function for every pair of
# states, reads the model's lines, and compares. Prints the differences; exit 1 if there is one.
#   compare-transitions.sh [SOURCE_ROOT]
set -eu
root=${1:-$(cd "$(dirname "$0")/../.." && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/print.c" <<'C'
#include <stdio.h>
#include "common/ledger.h"

static const char *const names[] = {
    [SLAB_EMPTY] = "SLAB_EMPTY",           [SLAB_ACTIVE] = "SLAB_ACTIVE",
    [SLAB_IDLE] = "SLAB_IDLE",             [SLAB_RECLAIMING] = "SLAB_RECLAIMING",
    [SLAB_RECLAIMED] = "SLAB_RECLAIMED",   [SLAB_PINNED] = "SLAB_PINNED",
};
static_assert(sizeof(names) / sizeof(names[0]) == SLAB_N_STATES, "a state is missing here");

int main(void)
{
    for (int from = 0; from < SLAB_N_STATES; from++)
        for (int to = 0; to < SLAB_N_STATES; to++) {
            if (ledger_transition_is_allowed(LEDGER_CLIENT, from, to))
                printf("LEDGER_CLIENT %s %s\n", names[from], names[to]);
            if (ledger_transition_is_allowed(LEDGER_DAEMON, from, to))
                printf("LEDGER_DAEMON %s %s\n", names[from], names[to]);
        }
    return 0;
}
C
${CC:-cc} -std=gnu11 -I"$root" -o "$work/print" "$work/print.c"
"$work/print" | sort >"$work/header"
sed -n '/^#define ledger_transition_is_allowed/,/^$/s/.*actor == \([A-Z_]*\) *&& from == \([A-Z_]*\) *&& to == \([A-Z_]*\)).*/\1 \2 \3/p' \
    "$root/docs/model/ledger.pml" | sort >"$work/model"
[ -s "$work/header" ] && [ -s "$work/model" ] || { echo "nothing to compare"; exit 1; }
if ! diff "$work/header" "$work/model" >"$work/difference"; then
    echo "the header (<) and the model (>) differ:"
    cat "$work/difference"
    exit 1
fi
echo "$(wc -l <"$work/model") transitions, the same in common/ledger.h and docs/model/ledger.pml"
