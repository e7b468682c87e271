/*
 * A client that holds the lock of a file which it shares with the daemon, for as long as it likes:
 * neither the loop nor other users' punches wait for it.
 */
#include "fixture.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define PAGE_BYTES 4096u

/* Writes to a file, from a page that is not there until somebody provides it. */
struct holder {
    int provider; /* -1: this host does not let us */
    int fd;
    char *page;
    pthread_t thread;
    ssize_t n_written;
};

static void *hold(void *data)
{
    struct holder *holder = data;
    /* The last bytes: nothing that matters. */
    off_t end = lseek(holder->fd, 0, SEEK_END);
    holder->n_written = pwrite(holder->fd, holder->page, 4, end - 4);
    return NULL;
}

static bool holder_begin(struct holder *holder, int fd)
{
    struct uffdio_api api = {.api = UFFD_API};
    holder->provider = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (holder->provider < 0 || ioctl(holder->provider, UFFDIO_API, &api) < 0)
        return false;
    holder->page =
        mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(holder->page, MAP_FAILED);
    struct uffdio_register page = {.range = {(uintptr_t)holder->page, PAGE_BYTES},
                                   .mode = UFFDIO_REGISTER_MODE_MISSING};
    assert_int_equal(ioctl(holder->provider, UFFDIO_REGISTER, &page), 0);
    holder->fd = fd;
    assert_int_equal(pthread_create(&holder->thread, NULL, hold, holder), 0);
    /* It wants the page, and has the lock. */
    struct pollfd fault = {.fd = holder->provider, .events = POLLIN};
    assert_int_equal(poll(&fault, 1, FIXTURE_PATIENCE_MS), 1);
    return true;
}

static void holder_end(struct holder *holder)
{
    struct uffdio_zeropage page = {.range = {(uintptr_t)holder->page, PAGE_BYTES}};
    assert_int_equal(ioctl(holder->provider, UFFDIO_ZEROPAGE, &page), 0);
    pthread_join(holder->thread, NULL);
    assert_int_equal(holder->n_written, 4);
    munmap(holder->page, PAGE_BYTES);
    close(holder->provider);
}

static void test_ledger(void **state)
{
    (void)state;
    struct holder holder;
    struct fixture *f = fixture_new(0, 0, 0, 3600000);
    struct fixture_client c = fixture_client_new(f, 1);
    int fd = dup(c.client->mapping->fd);
    assert_null(c.client->mapping->ledger);
    if (holder_begin(&holder, fd)) {
        client_set_pressure(c.client, LEDGER_PRESSURE_SOME);
        fixture_wait(f, c.ledger->pressure == LEDGER_PRESSURE_SOME);
        client_set_pressure(c.client, LEDGER_PRESSURE_NONE);
        assert_int_equal(c.ledger->pressure, LEDGER_PRESSURE_NONE);
        holder_end(&holder);
    }
    close(fd);
    fixture_client_end(f, &c);
    fixture_free(f);
    if (holder.provider < 0)
        skip();
}

struct scene {
    struct fixture *f;
    struct fixture_client hostile, other;
    struct holder holder;
    int fd; /* of the extent that is held */
    uint32_t *held, *queued, *others;
};

static uint32_t *lease_idle(struct fixture *f, struct fixture_client *c, int *fd)
{
    struct lease_grant grant[CONN_MAX_FDS];
    size_t n;
    assert_int_equal(lease_grant(&f->leases, c->client, 1, 1, 1, grant, &n), 0);
    uint32_t *slot = &c->ledger->slots[grant[0].extent->first_slot];
    *fd = grant[0].fd;
    assert_true(ledger_slab_change(slot, ledger_slot_read(slot), LEDGER_CLIENT, SLAB_ACTIVE));
    assert_true(ledger_slab_change(slot, ledger_slot_read(slot), LEDGER_CLIENT, SLAB_IDLE));
    return slot;
}

static enum slab_state state_of(uint32_t *slot)
{
    return ledger_word_state(ledger_slot_read(slot));
}

/* A punch of the hostile one's is under way, and what is behind it has gone on. False: not here. */
static bool scene_begin(struct scene *s)
{
    int fd;
    s->f = fixture_new(0, 0, 0, 3600000);
    s->f->punchers.check_ms = 50;
    s->hostile = fixture_client_new(s->f, 1);
    s->other = fixture_client_new(s->f, 2);
    s->held = lease_idle(s->f, &s->hostile, &s->fd);
    s->queued = lease_idle(s->f, &s->hostile, &fd);
    close(fd);
    s->others = lease_idle(s->f, &s->other, &fd);
    close(fd);
    if (!holder_begin(&s->holder, s->fd))
        return false;
    assert_int_equal(fixture_reclaim_all(s->f), 3 * SUPERSLAB_BYTES);
    fixture_wait(s->f, state_of(s->others) == SLAB_RECLAIMED && state_of(s->queued) == SLAB_IDLE);
    return true;
}

static void test_punch(void **state)
{
    (void)state;
    struct scene s;
    int fd;
    bool can = scene_begin(&s);
    if (can) {
        assert_int_equal(state_of(s.held), SLAB_RECLAIMING);
        assert_int_equal(s.hostile.client->user->n_stuck_punches, 1);
        /* The rest of that user's is left alone; others go on. */
        uint32_t *more = lease_idle(s.f, &s.other, &fd);
        close(fd);
        assert_int_equal(fixture_reclaim_all(s.f), SUPERSLAB_BYTES);
        fixture_wait(s.f, state_of(more) == SLAB_RECLAIMED);
        assert_int_equal(state_of(s.queued), SLAB_IDLE);
        /* Until it lets go. */
        holder_end(&s.holder);
        fixture_wait(s.f, state_of(s.held) == SLAB_RECLAIMED);
        assert_int_equal(s.hostile.client->user->n_stuck_punches, 0);
        assert_int_equal(fixture_reclaim_all(s.f), SUPERSLAB_BYTES);
        fixture_wait(s.f, state_of(s.queued) == SLAB_RECLAIMED);
        fixture_wait(s.f, !evtimer_pending(s.f->punchers.timer, NULL));
        for (int i = 0; i < PUNCHERS_N_STUCK_MAX; i++)
            assert_null(s.f->punchers.stuck[i]);
    }
    close(s.fd);
    fixture_client_end(s.f, &s.hostile);
    fixture_client_end(s.f, &s.other);
    fixture_free(s.f);
    if (!can)
        skip();
}

/* The client ends meanwhile: it is gone when its punch is over. */
static void test_end(void **state)
{
    (void)state;
    struct scene s;
    bool can = scene_begin(&s);
    if (can) {
        munmap(s.hostile.ledger, s.hostile.ledger_bytes);
        s.hostile.client->on_quiet_data = s.f;
        client_end(s.hostile.client, fixture_on_quiet);
        assert_int_equal(s.f->leases.n_clients, 2);
        holder_end(&s.holder);
        fixture_wait(s.f, s.f->leases.n_clients == 1);
    } else {
        fixture_client_end(s.f, &s.hostile);
    }
    close(s.fd);
    fixture_client_end(s.f, &s.other);
    fixture_free(s.f);
    if (!can)
        skip();
}

/* The daemon ends meanwhile: it does not wait. */
static void test_daemon_ends(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct scene s;
        if (!scene_begin(&s))
            _exit(77);
        alarm(60);
        s.hostile.client->on_quiet_data = s.other.client->on_quiet_data = s.f;
        core_close(s.f);
        client_end(s.hostile.client, fixture_on_quiet);
        client_end(s.other.client, fixture_on_quiet);
        core_deinit(s.f);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_punch),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_daemon_ends),
    };
    alarm(240);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
