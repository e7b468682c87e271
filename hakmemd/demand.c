/* See demand.h. */
#include "hakmemd/demand.h"

#define FADE_SHIFT       5 /* a 32nd a second */
#define FADED_BYTES      SUPERSLAB_BYTES
#define FADED_RATE_BYTES 4096

/* Shares of the base by order, in eighths: a first lease is small, a growing client's are large. */
static const unsigned base_eighths[DEMAND_N_ORDERS] = {1, 1, 2, 2, 2};

static uint64_t order_bytes(unsigned order)
{
    return (uint64_t)SUPERSLAB_BYTES << order;
}

static void raise(uint64_t *peak_bytes, uint64_t n_bytes)
{
    if (n_bytes > *peak_bytes)
        *peak_bytes = n_bytes;
}

void demand_note_recycled(struct demand *demand, uint64_t n_bytes)
{
    demand->second_bytes += n_bytes;
    raise(&demand->peak_bytes, demand->second_bytes + demand->second_bytes / 2);
}

void demand_note(struct demand *demand, unsigned node, unsigned order, uint64_t n_bytes)
{
    demand_note_recycled(demand, n_bytes);
    demand->fresh_second_bytes += n_bytes;
    demand->bytes[node][order] += n_bytes;
    raise(&demand->fresh_peak_bytes, demand->fresh_second_bytes + demand->fresh_second_bytes / 2);
}

void demand_ask(struct demand *demand, uint64_t n_bytes)
{
    raise(&demand->peak_bytes, n_bytes);
    raise(&demand->fresh_peak_bytes, n_bytes);
}

void demand_forget(struct demand *demand)
{
    *demand = (struct demand){.second_bytes = demand->second_bytes,
                              .fresh_second_bytes = demand->fresh_second_bytes,
                              .rate_bytes = demand->rate_bytes};
}

void demand_fade(struct demand *demand)
{
    demand->rate_bytes = (7 * demand->rate_bytes + demand->second_bytes) / 8;
    if (demand->rate_bytes < FADED_RATE_BYTES)
        demand->rate_bytes = 0;
    demand->second_bytes = 0;
    demand->fresh_second_bytes = 0;
    demand->peak_bytes -= demand->peak_bytes >> FADE_SHIFT;
    demand->fresh_peak_bytes -= demand->fresh_peak_bytes >> FADE_SHIFT;
    for (unsigned node = 0; node < TOPOLOGY_MAX_NODES; node++)
        for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
            demand->bytes[node][order] -= demand->bytes[node][order] >> FADE_SHIFT;
    if (demand->peak_bytes < FADED_BYTES)
        demand_forget(demand);
}

bool demand_is_over(const struct demand *demand)
{
    return demand->peak_bytes < FADED_BYTES && demand->rate_bytes == 0 && demand->second_bytes == 0;
}

/* ---- the plan ---- */

static uint64_t sum_of(const uint64_t bytes[DEMAND_N_ORDERS])
{
    uint64_t sum = 0;
    for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
        sum += bytes[order];
    return sum;
}

static uint64_t share_of(uint64_t whole, uint64_t part, uint64_t parts)
{
    return (uint64_t)((double)whole * ((double)part / (double)parts));
}

static void plan_node(const uint64_t demanded[DEMAND_N_ORDERS], uint64_t base, uint64_t spare,
                      uint64_t n_wanted[DEMAND_N_ORDERS])
{
    uint64_t left = base + spare, over = 0, sum = sum_of(demanded);
    for (unsigned order = DEMAND_N_ORDERS; order-- > 0;) {
        uint64_t bytes = base / 8 * base_eighths[order] + over;
        bytes += sum > 0 ? share_of(spare, demanded[order], sum)
                         : share_of(spare, base_eighths[order], 8);
        if (order == 0 || bytes > left) /* the smallest gets what rounding left */
            bytes = left;
        n_wanted[order] = bytes / order_bytes(order);
        if (order == 0 && bytes % order_bytes(0) != 0)
            n_wanted[0]++;
        over = bytes - n_wanted[order] * order_bytes(order);
        uint64_t planned = n_wanted[order] * order_bytes(order);
        left -= planned < left ? planned : left;
    }
}

void demand_plan(const struct demand *demand, unsigned n_nodes, uint64_t base, uint64_t spare,
                 uint64_t n_wanted[TOPOLOGY_MAX_NODES][DEMAND_N_ORDERS])
{
    uint64_t sum = 0, base_left = base, spare_left = spare;
    for (unsigned node = 0; node < n_nodes; node++)
        sum += sum_of(demand->bytes[node]);
    for (unsigned node = 0; node < n_nodes; node++) {
        bool is_last = node + 1 == n_nodes;
        uint64_t of_base = base / n_nodes / SUPERSLAB_BYTES * SUPERSLAB_BYTES;
        uint64_t of_spare =
            sum > 0 ? share_of(spare, sum_of(demand->bytes[node]), sum) : spare / n_nodes;
        if (is_last || of_base > base_left)
            of_base = base_left;
        if (is_last || of_spare > spare_left)
            of_spare = spare_left;
        base_left -= of_base;
        spare_left -= of_spare;
        plan_node(demand->bytes[node], of_base, of_spare, n_wanted[node]);
    }
}
