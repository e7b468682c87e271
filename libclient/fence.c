/* See fence.h. */
#include "libclient/fence.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "common/check.h"
#include "libclient/glue.h"
#include "libclient/misuse.h"

/* Larger blocks, and more of them, go without a fence. Each live block splits the zone into two
 * mappings more, of which a process has 65530 by default (vm.max_map_count). */
#define ZONE_PAGES      ((uint32_t)1 << 22)
#define BLOCK_MAX_PAGES (ZONE_PAGES / 8)
#define LIVE_MAX        16384u
/* Before the first block of all: who goes astray from there meets a fence, too. */
#define FIRST_PAGE 1024u

#define FILLER 0xfb

/* So many of the last blocks are looked at again and again. */
#define RECENT 4u

enum page_state { PAGE_UNUSED = 0, PAGE_LIVE, PAGE_BEHIND, PAGE_FREED };

/* One zone page; the same for all pages of a block, and the one behind it, but for the state. */
struct page {
    uintptr_t block_and_state; /* blocks are at multiples of 16 */
    size_t n_bytes;            /* of the block, as asked for */
};

static char *zone; /* NULL: none */
static size_t page_bytes;
static struct page *pages;
static uint32_t next_page, n_live;
static uint32_t n_used;             /* pages from here on are PAGE_UNUSED */
static struct page *recent[RECENT]; /* their first pages, a ring; may have been freed since */
static uint32_t n_given;
static struct sigaction previous_segv, previous_bus;

bool fence_contains(const void *at)
{
    return zone && (uintptr_t)at - (uintptr_t)zone < ZONE_PAGES * page_bytes;
}

static struct page *page_of(const void *at)
{
    return &pages[((uintptr_t)at - (uintptr_t)zone) / page_bytes];
}

static enum page_state state_of(const struct page *page)
{
    return (enum page_state)(page->block_and_state & 15);
}

static char *block_of(const struct page *page)
{
    return (char *)(page->block_and_state & ~(uintptr_t)15);
}

static char *address_of(const struct page *page)
{
    return zone + (size_t)(page - pages) * page_bytes;
}

/* Pages that hold `block`; one at least, also of a block of no bytes. */
static struct page *first_page(const struct page *page)
{
    return page_of(block_of(page) - (page->n_bytes == 0));
}

static uint32_t count_pages(const struct page *first)
{
    char *end = block_of(first) + first->n_bytes;
    return (uint32_t)(((size_t)(end - address_of(first)) + page_bytes - 1) / page_bytes);
}

static void mark(struct page *first, uint32_t n, const void *block, size_t n_bytes,
                 enum page_state state)
{
    for (uint32_t i = 0; i < n; i++)
        first[i] = (struct page){(uintptr_t)block | state, n_bytes};
}

/* n pages in a row that no live block has, or is in front of. */
static struct page *find_pages(uint32_t n)
{
    for (uint32_t n_wraps = 0; n_wraps < 2;) {
        if (next_page + n > ZONE_PAGES) {
            next_page = FIRST_PAGE;
            n_wraps++;
            continue;
        }
        uint32_t end = next_page + n;
        while (end > next_page && (state_of(&pages[end - 1]) == PAGE_UNUSED ||
                                   state_of(&pages[end - 1]) == PAGE_FREED))
            end--;
        if (end == next_page) {
            next_page += n;
            return &pages[end];
        }
        next_page = end;
    }
    return NULL;
}

void *fence_allocate(size_t n_bytes, size_t alignment)
{
    if (!zone || n_live >= LIVE_MAX || n_bytes > BLOCK_MAX_PAGES * page_bytes)
        return NULL;
    size_t rounded = (n_bytes + alignment - 1) & ~(alignment - 1);
    uint32_t n = (uint32_t)((rounded + page_bytes - 1) / page_bytes);
    if (n == 0)
        n = 1;
    struct page *first = find_pages(n + 1);
    if (!first || !glue_make_usable(address_of(first), n * page_bytes))
        return NULL;
    char *start = address_of(first), *end = start + n * page_bytes, *block = end - rounded;
    memset(start, FILLER, (size_t)(block - start));
    memset(block + n_bytes, FILLER, (size_t)(end - block) - n_bytes);
    mark(first, n, block, n_bytes, PAGE_LIVE);
    mark(first + n, 1, block, n_bytes, PAGE_BEHIND);
    recent[n_given++ % RECENT] = first;
    n_live++;
    if (n_used < next_page)
        n_used = next_page;
    return block;
}

static bool is_filler(const char *from, const char *to)
{
    /* All are like the first one if each is like the next one. */
    return from == to ||
           (*from == (char)FILLER && memcmp(from, from + 1, (size_t)(to - from) - 1) == 0);
}

static int find_overwritten(const struct page *first)
{
    char *block = block_of(first), *start = address_of(first);
    if (!is_filler(start, block))
        return MISUSE_UNDERFLOW;
    if (!is_filler(block + first->n_bytes, start + count_pages(first) * page_bytes))
        return MISUSE_OVERFLOW;
    return FENCE_OK;
}

int fence_find(const void *block, size_t *n_bytes)
{
    const struct page *page = page_of(block);
    if (block_of(page) != block)
        return state_of(page) == PAGE_LIVE ? MISUSE_INTERIOR : MISUSE_NOT_LIVE;
    if (state_of(page) == PAGE_FREED)
        return MISUSE_DOUBLE_FREE;
    *n_bytes = page->n_bytes;
    return FENCE_OK;
}

int fence_free(void *block)
{
    size_t n_bytes;
    int misuse = fence_find(block, &n_bytes);
    if (misuse != FENCE_OK)
        return misuse;
    struct page *first = first_page(page_of(block));
    misuse = find_overwritten(first);
    if (misuse != FENCE_OK)
        return misuse;
    uint32_t n = count_pages(first);
    /* There may be one mapping too many in the process for that; the memory must be zero at least.
     */
    if (!glue_unmap(address_of(first), n * page_bytes))
        glue_purge(address_of(first), n * page_bytes);
    mark(first, n + 1, block, n_bytes, PAGE_FREED);
    n_live--;
    return FENCE_OK;
}

static int check_page(const struct page *page, void **block)
{
    if (state_of(page) != PAGE_LIVE || first_page(page) != page)
        return FENCE_OK;
    int misuse = find_overwritten(page);
    if (misuse != FENCE_OK)
        *block = block_of(page);
    return misuse;
}

int fence_check_all(void **block)
{
    int misuse = FENCE_OK;
    for (uint32_t i = FIRST_PAGE; i < n_used && misuse == FENCE_OK; i++)
        misuse = check_page(&pages[i], block);
    return misuse;
}

int fence_check_recent(void **block)
{
    int misuse = FENCE_OK;
    for (uint32_t i = 0; i < RECENT && recent[i] && misuse == FENCE_OK; i++)
        misuse = check_page(recent[i], block);
    return misuse;
}

void fence_abort(int misuse, const void *at)
{
    const struct page *page = page_of(at);
    if (state_of(page) == PAGE_UNUSED)
        misuse_abort((enum misuse)misuse, at);
    misuse_abort_in((enum misuse)misuse, at, block_of(page), page->n_bytes);
}

/* A fault that is none of ours goes to whoever was there before: by the same instruction, or
 * signal, once more. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    bool by_kernel = info->si_code > 0;
    if (by_kernel && fence_contains(info->si_addr)) {
        switch (state_of(page_of(info->si_addr))) {
        case PAGE_BEHIND:
            fence_abort(MISUSE_ACCESS_BEHIND, info->si_addr);
        case PAGE_FREED:
            fence_abort(MISUSE_ACCESS_FREED, info->si_addr);
        case PAGE_UNUSED:
            fence_abort(MISUSE_ACCESS_NOWHERE, info->si_addr);
        case PAGE_LIVE:
            break;
        }
    }
    sigaction(number, number == SIGSEGV ? &previous_segv : &previous_bus, NULL);
    if (!by_kernel)
        raise(number);
}

void fence_init(void)
{
    if (glue_address_space_limit() != SIZE_MAX)
        return;
    page_bytes = glue_page_bytes();
    char *reserved = glue_reserve(ZONE_PAGES * page_bytes);
    pages = glue_reserve(ZONE_PAGES * sizeof(*pages));
    if (!reserved || !pages || !glue_make_usable(pages, ZONE_PAGES * sizeof(*pages)))
        return; /* what was reserved is no memory */
    next_page = FIRST_PAGE;
    zone = reserved;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
}
