#!/bin/sh
# The model of the ledger has the header's transitions. (make check-model lets spin look at the model itself.)
. "$(dirname "$0")/../lib.sh"
need cc
sh "$tests/../docs/model/compare-transitions.sh" || fail "docs/model/ledger.pml does not follow common/ledger.h"
# The comparison sees a difference.
mkdir -p "$scratch/root/common" "$scratch/root/docs/model"
cp "$tests"/../common/*.h "$scratch/root/common/"
sed '/actor == LEDGER_CLIENT && from == SLAB_PINNED/d' "$tests/../docs/model/ledger.pml" >"$scratch/root/docs/model/ledger.pml"
! sh "$tests/../docs/model/compare-transitions.sh" "$scratch/root" >"$scratch/out" ||
    fail "a missing transition goes unseen: $(cat "$scratch/out")"
