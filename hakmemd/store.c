/* See store.h. */
#include "hakmemd/store.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/atomic.h"
#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/log.h"
#include "hakmemd/memfd.h"
#include "hakmemd/notify.h"
#include "hakmemd/turn.h"

#define TABLE_MAGIC   UINT64_C(0x656c62617468616b)
#define TABLE_VERSION 1u
/*
 * The manager passes all names in one environment string, and the kernel allows such a string
 * 128 KiB: beyond that the service could not be started. So the names are short, and there are no
 * more than STORE_CAPACITY of them.
 */
#define NAME_MAX_BYTES  6u /* "h3fff" and what parts it from the next */
#define STRING_MAX      (128u << 10)
#define TABLE_NAME      "h0"
#define PUSHES_A_TURN   16
#define RETRY_MS        20
#define RETRY_FAILED_MS 1000
#define FREEZE_MS       2000

/* In store.passed, beside descriptors and -1, which is none. */
#define PASSED_KEPT  (-2)
#define PASSED_STALE (-3) /* closed; the manager is to be told */

static_assert(STORE_CAPACITY * NAME_MAX_BYTES + 4096 < STRING_MAX,
              "$LISTEN_FDNAMES must fit, with the names of sockets");
static_assert(sizeof(struct store_record) == 128, "the table's layout is an ABI");

/* In record 0's place. */
struct table_head {
    uint64_t magic;
    uint32_t version;
    uint32_t n_records;
    uint64_t last_client_id;
    uint64_t last_extent_id;
    uint64_t reserved[12];
};
static_assert(sizeof(struct table_head) == sizeof(struct store_record), "record 0 is the head");

struct store_table {
    struct table_head head;
    struct store_record records[];
};

#define TABLE_BYTES ((size_t)STORE_CAPACITY * sizeof(struct store_record))

static struct store_record *record_of(const struct store *store, uint32_t index)
{
    check_or_trap(index > 0 && index < store->n_indices);
    return &store->table->records[index - 1];
}

/* ---- words to the manager ---- */

/* FDPOLL=0: a memory file has no events that the manager could wait for. */
static int send_push(uint32_t index, int fd)
{
    char text[64];
    snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=h%x", index);
    return notify_manager_fd(text, fd);
}

static int send_removal(const char *name)
{
    char text[320];
    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return notify_manager_fd(text, -1);
}

static int send_removal_of(uint32_t index)
{
    char name[16];
    snprintf(name, sizeof(name), "h%x", index);
    return send_removal(name);
}

static void schedule(struct store *store, uint64_t wait_ms)
{
    struct timeval wait = clock_timeval(wait_ms);
    if (store->timer && !evtimer_pending(store->timer, NULL))
        evtimer_add(store->timer, &wait);
}

static void put_removal(struct store *store, uint32_t index)
{
    check_or_trap(store->n_removals < store->n_indices);
    store->removals[(store->first_removal + store->n_removals++) % store->n_indices] = index;
}

/* Sends removals, in their order: a name is free again once its removal is on its way. 0 or a
 * negative errno. */
static int send_removals(struct store *store, unsigned *n_left)
{
    while (store->n_removals > 0 && *n_left > 0 && turn_has_time()) {
        uint32_t index = store->removals[store->first_removal];
        int r = send_removal_of(index);
        if (r < 0)
            return r;
        --*n_left;
        store->first_removal = (store->first_removal + 1) % store->n_indices;
        store->n_removals--;
        store->free[store->n_free++] = index;
    }
    return 0;
}

/* It waits no longer: it was sent, or need not be. */
static void end_wait(struct store *store, struct store_entry *entry)
{
    list_remove(&entry->link);
    entry->is_waiting = false;
    if (entry->owns_fd) {
        close(entry->fd);
        store->stats->n_waiting--;
    }
    entry->owns_fd = false;
    entry->fd = -1;
}

static int send_waiting(struct store *store, uint64_t now_ms, unsigned *n_left)
{
    while (!list_is_empty(&store->waiting) && *n_left > 0 && turn_has_time()) {
        struct store_entry *entry = list_entry(store->waiting.next, struct store_entry, link);
        if (entry->due_ms > now_ms)
            return 0;
        int r = send_push(entry->index, entry->fd);
        if (r < 0)
            return r;
        --*n_left;
        store->stats->stored_descriptors++;
        end_wait(store, entry);
    }
    return 0;
}

/* Some of what is to be sent. 0, or a negative errno: the manager takes no more now. */
static int send_some(struct store *store, uint64_t now_ms)
{
    unsigned n_left = PUSHES_A_TURN;
    int r = send_removals(store, &n_left);
    return r < 0 ? r : send_waiting(store, now_ms, &n_left);
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct store *store = data;
    uint64_t now_ms = clock_now_ms();
    turn_begin();
    int r = send_some(store, now_ms);
    if (r == -EAGAIN || r == -ETOOMANYREFS) {
        schedule(store, RETRY_MS);
    } else if (r < 0) {
        static struct log_limit limit;
        uint64_t n_suppressed;
        store->stats->store_errors_total++;
        if (log_limit_pass(&limit, &n_suppressed))
            log_warning(&(struct log_subject){.error = -r},
                        "the service manager's descriptor store cannot be reached");
        schedule(store, RETRY_FAILED_MS);
    } else if (store->n_removals > 0) {
        schedule(store, 0);
    } else if (!list_is_empty(&store->waiting)) {
        uint64_t due_ms = list_entry(store->waiting.next, struct store_entry, link)->due_ms;
        schedule(store, due_ms > now_ms ? due_ms - now_ms : 0);
    }
    turn_end();
}

/* ---- what is found at start ---- */

static int table_map(struct store *store, int fd)
{
    struct store_table *table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (table == MAP_FAILED)
        return -errno;
    store->table = table;
    store->table_fd = fd;
    return 0;
}

/* An earlier daemon's table, if it is one that we understand. */
static bool table_adopt(struct store *store, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (uint64_t)status.st_size != TABLE_BYTES || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) ||
        table_map(store, fd) < 0)
        return false;
    const struct table_head *head = &store->table->head;
    if (head->magic == TABLE_MAGIC && head->version == TABLE_VERSION &&
        head->n_records == STORE_CAPACITY)
        return true;
    munmap(store->table, TABLE_BYTES);
    store->table = NULL;
    store->table_fd = -1;
    return false;
}

static int table_new(struct store *store)
{
    int fd;
    int r = memfd_create_ledger(TABLE_BYTES, &fd);
    if (r < 0)
        return r;
    r = table_map(store, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    store->table->head = (struct table_head){
        .magic = TABLE_MAGIC, .version = TABLE_VERSION, .n_records = STORE_CAPACITY};
    return send_push(0, fd);
}

/* "h" and an index; anything else is not from us. */
static bool parse_name(const char *name, uint32_t *index_out)
{
    char again[16];
    char *end;
    if (name[0] != 'h')
        return false;
    unsigned long value = strtoul(name + 1, &end, 16);
    if (*end != '\0' || value >= STORE_CAPACITY)
        return false;
    snprintf(again, sizeof(again), "h%lx", value);
    if (strcmp(again, name) != 0)
        return false;
    *index_out = (uint32_t)value;
    return true;
}

static void refuse_passed(struct store *store, struct store_passed *passed, size_t i)
{
    store->stats->store_errors_total++;
    (void)send_removal(passed->names[i]);
    close(passed->fds[i]);
    passed->fds[i] = -1;
}

/* The table first: without it nobody can say what the others are. */
static void find_table(struct store *store, struct store_passed *passed)
{
    for (size_t i = 0; i < passed->n; i++) {
        if (passed->fds[i] < 0 || strcmp(passed->names[i], TABLE_NAME) != 0)
            continue;
        if (store->table || !table_adopt(store, passed->fds[i]))
            refuse_passed(store, passed, i);
        else
            passed->fds[i] = -1;
    }
}

static void sort_passed(struct store *store, struct store_passed *passed, bool has_table)
{
    for (size_t i = 0; i < passed->n; i++) {
        uint32_t index;
        struct stat status;
        if (passed->fds[i] < 0)
            continue;
        if (!parse_name(passed->names[i], &index) || index == 0 || store->passed[index] != -1) {
            refuse_passed(store, passed, i);
            continue;
        }
        const struct store_record *record = record_of(store, index);
        if (has_table && record->kind != STORE_NOTHING && fstat(passed->fds[i], &status) == 0 &&
            status.st_ino == record->inode && status.st_uid == geteuid()) {
            store->passed[index] = passed->fds[i];
            store->stats->stored_descriptors++;
        } else { /* between two leases as it seems, or of a table that we have not */
            close(passed->fds[i]);
            store->passed[index] = PASSED_STALE;
        }
        passed->fds[i] = -1;
    }
}

/* How many the manager keeps. systemd says so from version 254 on; the unit says it to older ones.
 */
static uint32_t offered(void)
{
    const char *text = getenv("FDSTORE");
    char *end;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;
    if (!text || *end != '\0' || !getenv("NOTIFY_SOCKET"))
        return 0;
    return n < STORE_CAPACITY ? (uint32_t)n : STORE_CAPACITY;
}

int store_init(struct store *store, uint64_t after_ms, struct store_passed *passed,
               struct event_base *base, struct stats *stats)
{
    *store = (struct store){.stats = stats, .table_fd = -1, .after_ms = after_ms};
    list_init(&store->waiting);
    uint32_t n_offered = offered();
    if (n_offered < 2)
        return 0;
    store->n_indices = STORE_CAPACITY;
    store->free = malloc(STORE_CAPACITY * sizeof(uint32_t));
    store->removals = malloc(STORE_CAPACITY * sizeof(uint32_t));
    store->passed = malloc(STORE_CAPACITY * sizeof(int));
    store->timer = evtimer_new(base, on_timer, store);
    if (!store->free || !store->removals || !store->passed || !store->timer)
        return -ENOMEM;
    memset(store->passed, 0xff, STORE_CAPACITY * sizeof(int));
    find_table(store, passed);
    bool has_table = store->table != NULL;
    int r = has_table ? 0 : table_new(store);
    if (r < 0) {
        log_warning(&(struct log_subject){.error = -r},
                    "no use of the service manager's descriptor store: a restart will orphan what "
                    "is leased");
        return 0;
    }
    sort_passed(store, passed, has_table);
    store->is_on = true;
    /* The lowest first; those in use go when they are kept. Beyond what the manager takes: none. */
    for (uint32_t index = STORE_CAPACITY; index-- > 1;) {
        if (store->passed[index] == PASSED_STALE)
            put_removal(store, index);
        else if (index < n_offered && record_of(store, index)->kind == STORE_NOTHING)
            store->free[store->n_free++] = index;
    }
    return 0;
}

void store_deinit(struct store *store)
{
    if (store->timer)
        event_free(store->timer);
    if (store->table)
        munmap(store->table, TABLE_BYTES);
    if (store->table_fd > 0)
        close(store->table_fd);
    free(store->free);
    free(store->removals);
    free(store->passed);
    *store = (struct store){.table_fd = -1};
}

bool store_next(struct store *store, uint32_t *index, struct store_record *record_out, int *fd_out)
{
    if (!store->is_on)
        return false;
    for (uint32_t i = *index + 1; i < store->n_indices; i++) {
        const struct store_record *record = record_of(store, i);
        if (record->kind == STORE_NOTHING)
            continue;
        *index = i;
        *record_out = *record;
        *fd_out = store->passed[i] >= 0 ? store->passed[i] : -1;
        return true;
    }
    return false;
}

void store_keep(struct store *store, uint32_t index, struct store_entry *entry)
{
    store->passed[index] = PASSED_KEPT;
    *entry = (struct store_entry){.index = index, .fd = -1};
    list_init(&entry->link);
}

void store_finish_adoption(struct store *store)
{
    if (!store->is_on)
        return;
    for (uint32_t i = 1; i < store->n_indices; i++) {
        struct store_record *record = record_of(store, i);
        if (record->kind == STORE_NOTHING || store->passed[i] == PASSED_KEPT)
            continue;
        if (store->passed[i] >= 0) {
            close(store->passed[i]);
            store->stats->stored_descriptors--;
        }
        store->stats->store_errors_total++;
        record->kind = STORE_NOTHING;
        if (store->passed[i] != PASSED_STALE) /* that one is on its way */
            put_removal(store, i);
    }
    free(store->passed);
    store->passed = NULL;
    schedule(store, 0);
}

/* ---- what is done at work ---- */

bool store_make_token(struct store *store, unsigned char token[STORE_TOKEN_BYTES])
{
    if (store->n_tokens == 0) {
        if (getrandom(store->tokens, sizeof(store->tokens), 0) != sizeof(store->tokens))
            return false;
        store->n_tokens = STORE_N_TOKENS;
    }
    unsigned char *from = store->tokens[--store->n_tokens];
    memcpy(token, from, STORE_TOKEN_BYTES);
    memset(from, 0, STORE_TOKEN_BYTES);
    return true;
}

uint64_t store_next_client_id(struct store *store)
{
    return ++store->table->head.last_client_id;
}

uint64_t store_last_extent_id(const struct store *store)
{
    return store->is_on ? store->table->head.last_extent_id : 0;
}

/* Whoever reads the record after a SIGKILL finds the old one, none, or the new one whole. */
static void write_record(struct store *store, uint32_t index, const struct store_record *record)
{
    struct store_record *place = record_of(store, index);
    uint64_t inode = record->inode ? record->inode : place->inode;
    struct store_record copy = *record;
    copy.kind = STORE_NOTHING;
    copy.inode = inode;
    /* Relaxed, in program order: nobody reads but a daemon that begins after our end, when all that
     * we have executed is there. */
    atomic_store_relaxed(&place->kind, (uint32_t)STORE_NOTHING);
    atomic_compiler_barrier();
    *place = copy;
    atomic_compiler_barrier();
    atomic_store_relaxed(&place->kind, record->kind);
    if (record->kind == STORE_LEASE && record->id > store->table->head.last_extent_id)
        store->table->head.last_extent_id = record->id;
}

bool store_add(struct store *store, struct store_entry *entry, const struct store_record *record,
               int fd, bool owns_fd)
{
    if (!store_is_on(store))
        goto refused;
    check_or_trap(entry->index == 0);
    struct store_record whole = *record;
    if (whole.inode == 0)
        whole.inode = memfd_inode(fd);
    if (store->n_free == 0 || whole.inode == 0) {
        store->stats->store_errors_total++;
        goto refused;
    }
    *entry = (struct store_entry){.index = store->free[--store->n_free],
                                  .fd = fd,
                                  .owns_fd = owns_fd,
                                  .is_waiting = true,
                                  .due_ms = clock_now_ms() + store->after_ms};
    store->stats->n_waiting += owns_fd;
    write_record(store, entry->index, &whole);
    list_push_back(&store->waiting, &entry->link);
    schedule(store, store->after_ms);
    return true;
refused:
    if (owns_fd && fd >= 0)
        close(fd);
    return false;
}

void store_change(struct store *store, struct store_entry *entry, const struct store_record *record)
{
    if (store_is_on(store) && entry->index > 0)
        write_record(store, entry->index, record);
}

static void forget(struct store *store, struct store_entry *entry)
{
    uint32_t index = entry->index;
    bool was_sent = !entry->is_waiting;
    if (entry->is_waiting)
        end_wait(store, entry);
    entry->index = 0;
    if (store->is_frozen)
        return;
    /* Relaxed: read by the next daemon, after our end. */
    atomic_store_relaxed(&record_of(store, index)->kind, (uint32_t)STORE_NOTHING);
    if (!was_sent) {
        store->free[store->n_free++] = index;
        return;
    }
    if (store->stats->stored_descriptors > 0)
        store->stats->stored_descriptors--;
    put_removal(store, index);
    schedule(store, 0);
}

void store_blank(struct store *store, struct store_entry *entry)
{
    if (!store_is_on(store) || entry->index == 0)
        return;
    if (entry->is_waiting)
        forget(store, entry);
    else
        atomic_store_relaxed(&record_of(store, entry->index)->kind, /* as above */
                             (uint32_t)STORE_NOTHING);
}

void store_drop(struct store *store, struct store_entry *entry)
{
    if (store && store->is_on && entry->index > 0)
        forget(store, entry);
}

/* ---- the end ---- */

/* Waits until the manager has taken in all that was sent: it closes our end of a pipe then. */
static void wait_for_manager(uint64_t until_ms)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    int r;
    while ((r = notify_manager_fd("BARRIER=1", ends[1])) == -EAGAIN && clock_now_ms() < until_ms)
        poll(NULL, 0, 1);
    close(ends[1]);
    uint64_t now_ms = clock_now_ms();
    struct pollfd hung_up = {.fd = ends[0]};
    if (r == 0 && now_ms < until_ms)
        poll(&hung_up, 1, (int)(until_ms - now_ms));
    close(ends[0]);
}

void store_freeze(struct store *store)
{
    if (!store_is_on(store))
        return;
    uint64_t until_ms = clock_now_ms() + FREEZE_MS;
    while ((store->n_removals > 0 || !list_is_empty(&store->waiting)) &&
           clock_now_ms() < until_ms) {
        int r = send_some(store, UINT64_MAX);
        if (r == -EAGAIN || r == -ETOOMANYREFS)
            poll(NULL, 0, 1); /* no event tells when another process's queue has room */
        else if (r < 0)
            break;
    }
    wait_for_manager(until_ms);
    store->is_frozen = true;
}
