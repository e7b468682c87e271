/* See slots.h. A bitmap; runs never cross a word, being aligned and at most 16 long. */
#include "hakmemd/slots.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/ledger.h"
#include "common/superslab.h"

#define WORD_BITS 64u

struct slots {
    uint32_t n_slots;
    uint32_t n_words;
    uint32_t first_open; /* no word before this one has a free slot */
    uint64_t taken[];    /* bits beyond n_slots are taken for good */
};

static uint64_t run_mask(uint32_t n)
{
    return (UINT64_C(1) << n) - 1;
}

struct slots *slots_new(uint32_t n_slots)
{
    uint32_t n_words = (n_slots + WORD_BITS - 1) / WORD_BITS;
    struct slots *slots = calloc(1, sizeof(*slots) + n_words * sizeof(slots->taken[0]));
    if (!slots)
        return NULL;
    slots->n_slots = n_slots;
    slots->n_words = n_words;
    if (n_slots % WORD_BITS != 0)
        slots->taken[n_words - 1] = ~run_mask(n_slots % WORD_BITS);
    return slots;
}

void slots_free(struct slots *slots)
{
    free(slots);
}

/* The first free run, or LEDGER_SLOT_NONE. */
static uint32_t find_run(struct slots *slots, uint32_t n)
{
    check_or_trap(extent_slabs_is_valid(n));
    uint64_t run = run_mask(n);
    for (uint32_t i = slots->first_open; i < slots->n_words; i++) {
        uint64_t taken = slots->taken[i];
        if (taken == ~UINT64_C(0)) {
            if (i == slots->first_open)
                slots->first_open++;
            continue;
        }
        for (uint32_t at = 0; at < WORD_BITS; at += n) {
            if ((taken & run << at) == 0)
                return i * WORD_BITS + at;
        }
    }
    return LEDGER_SLOT_NONE;
}

bool slots_have_run(struct slots *slots, uint32_t n)
{
    return find_run(slots, n) != LEDGER_SLOT_NONE;
}

uint32_t slots_acquire(struct slots *slots, uint32_t n)
{
    uint32_t first = find_run(slots, n);
    if (first != LEDGER_SLOT_NONE)
        slots->taken[first / WORD_BITS] |= run_mask(n) << first % WORD_BITS;
    return first;
}

bool slots_acquire_at(struct slots *slots, uint32_t first, uint32_t n)
{
    if (!extent_slabs_is_valid(n) || n > slots->n_slots || first > slots->n_slots - n ||
        first % n != 0)
        return false;
    uint64_t run = run_mask(n) << first % WORD_BITS;
    if (slots->taken[first / WORD_BITS] & run)
        return false;
    slots->taken[first / WORD_BITS] |= run;
    return true;
}

void slots_return(struct slots *slots, uint32_t first, uint32_t n)
{
    check_or_trap(n <= slots->n_slots && first <= slots->n_slots - n && first % n == 0);
    uint32_t i = first / WORD_BITS;
    uint64_t run = run_mask(n) << first % WORD_BITS;
    check_or_trap((slots->taken[i] & run) == run);
    slots->taken[i] &= ~run;
    if (i < slots->first_open)
        slots->first_open = i;
}
