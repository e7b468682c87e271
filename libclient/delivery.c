/* See delivery.h. */
#include "libclient/delivery.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/superslab.h"
#include "libclient/glue.h"

#define LEDGER_MAX_SLOTS (1u << 20)

/* Is its size sealed, and what else is it? */
static bool cannot_shrink(int fd, struct stat *status, uint64_t *n_syscalls)
{
    *n_syscalls += 2;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) && glue_stat(fd, status) == 0 &&
           status->st_size >= 0;
}

/* ---- extents ---- */

static bool overlap(const Hakmem__Extent *a, const Hakmem__Extent *b)
{
    return a->id == b->id || (a->first_slot < b->first_slot + b->n_slabs &&
                              b->first_slot < a->first_slot + a->n_slabs);
}

bool delivery_extents_are_valid(Hakmem__Extent *const *extents, size_t n_extents, const int *fds,
                                uint32_t n_slots, uint32_t run_slabs, uint64_t *inodes,
                                uint64_t *n_syscalls)
{
    struct stat status;
    for (size_t i = 0; i < n_extents; i++) {
        const Hakmem__Extent *extent = extents[i];
        if (!extent_slabs_is_valid(extent->n_slabs) || extent->n_slabs < run_slabs ||
            extent->huge_slabs > extent->n_slabs ||
            (uint64_t)extent->first_slot + extent->n_slabs > n_slots)
            return false;
        for (size_t j = 0; j < i; j++) {
            if (overlap(extent, extents[j]))
                return false;
        }
        if (!cannot_shrink(fds[i], &status, n_syscalls) ||
            (uint64_t)status.st_size != extent->n_slabs * SUPERSLAB_BYTES)
            return false;
        inodes[i] = status.st_ino;
    }
    return true;
}

/* ---- ledgers ---- */

bool delivery_map_ledger(struct delivery_ledgers *ledgers, int fd, uint32_t n_slots,
                         uint64_t *n_syscalls)
{
    if (n_slots == 0 || n_slots > LEDGER_MAX_SLOTS)
        return false;
    size_t n_bytes = ledger_bytes(n_slots);
    struct stat status;
    if (!cannot_shrink(fd, &status, n_syscalls) || (uint64_t)status.st_size < n_bytes)
        return false;
    *n_syscalls += 1;
    struct ledger *ledger = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ledger == MAP_FAILED)
        return false;
    glue_populate_pages(ledger, sizeof(*ledger));
    /* Relaxed: written before the descriptor was sent, and the packet orders that. */
    if (atomic_load_relaxed(&ledger->magic) != LEDGER_MAGIC ||
        atomic_load_relaxed(&ledger->abi_version) != LEDGER_ABI_VERSION ||
        atomic_load_relaxed(&ledger->n_slots) != n_slots) {
        *n_syscalls += 1;
        munmap(ledger, n_bytes);
        return false;
    }
    ledgers->current = (struct delivery_mapping){.ledger = ledger, .n_bytes = n_bytes};
    return true;
}

/* Private zero memory takes its place: a late reader finds EMPTY slots. */
static void replace(struct delivery_mapping *mapping, uint64_t *n_syscalls)
{
    if (mapping->ledger) {
        *n_syscalls += 1;
        mmap(mapping->ledger, mapping->n_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    }
    mapping->ledger = NULL;
}

void delivery_retire_ledger(struct delivery_ledgers *ledgers, uint64_t *n_syscalls)
{
    struct delivery_mapping *oldest =
        &ledgers->retired[ledgers->n_retired++ % DELIVERY_RETIRED_LEDGERS];
    replace(oldest, n_syscalls);
    *oldest = ledgers->current;
    ledgers->current.ledger = NULL;
}

void delivery_abandon_ledgers(struct delivery_ledgers *ledgers, uint64_t *n_syscalls)
{
    replace(&ledgers->current, n_syscalls);
    for (unsigned i = 0; i < DELIVERY_RETIRED_LEDGERS; i++)
        replace(&ledgers->retired[i], n_syscalls);
}
