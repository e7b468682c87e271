/* Where signs of memory pressure are looked for, on a host of files; and that each kind is seen. */
#include "fake-host.h"
#include "fixture.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct scene {
    struct fake_host fake;
    struct event_base *base;
    struct cgroups cgroups;
    struct cgroup *own;
    struct signs signs;
    unsigned n_seen;
};

static void on_sign(void *data)
{
    ++*(unsigned *)data;
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    fake_host_init(&s->fake);
    s->base = event_base_new();
    cgroups_init(&s->cgroups, &s->fake.host);
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    signs_deinit(&s->signs);
    cgroup_unref(s->own);
    cgroups_deinit(&s->cgroups);
    event_base_free(s->base);
    fake_host_deinit(&s->fake);
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
    free(s);
    return 0;
}

/* The daemon's process is in this group of version 2. */
static void be_in(struct scene *s, const char *lines)
{
    char name[64];
    snprintf(name, sizeof(name), "proc/%d/cgroup", (int)getpid());
    fake_host_write(&s->fake, name, "%s", lines);
    fake_host_write(&s->fake, "sys/fs/cgroup/cgroup.controllers", "memory\n");
}

static void begin(struct scene *s, const struct host *host)
{
    s->cgroups.host = host;
    s->own = cgroups_get_own(&s->cgroups);
    assert_int_equal(
        signs_init(&s->signs, s->base, host, &s->cgroups, s->own, 150000, on_sign, &s->n_seen), 0);
}

static void wait_for(struct scene *s, unsigned n_seen)
{
    uint64_t until_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    while (s->n_seen < n_seen) {
        event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        usleep(200);
        assert_true(clock_now_ms() < until_ms);
    }
    assert_int_equal(s->n_seen, n_seen);
}

/* Whatever is to come has come. */
static void turn(struct scene *s)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(s->base, EVLOOP_NONBLOCK);
}

static void test_nothing_to_watch(void **state)
{
    struct scene *s = *state;
    begin(s, &s->fake.host);
    assert_string_equal(signs_source(&s->signs), "none");
    assert_string_equal(signs_description(&s->signs), "none");
}

static void test_this_host(void **state)
{
    struct scene *s = *state;
    begin(s, &host_default);
    int fd = open("/proc/pressure/memory", O_RDWR);
    assert_string_equal(signs_source(&s->signs), fd >= 0 ? "psi" : "meminfo");
    assert_memory_equal(signs_description(&s->signs), fd >= 0 ? "host psi" : "host meminfo", 8);
    if (fd >= 0)
        close(fd);
}

static void test_meminfo(void **state)
{
    struct scene *s = *state;
    fake_host_write(&s->fake, "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 99000 kB\n");
    begin(s, &s->fake.host);
    assert_string_equal(signs_source(&s->signs), "meminfo");
    wait_for(s, 1);
    fake_host_write(&s->fake, "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 101000 kB\n");
    /* The next look finds nothing; the one after that would be too late to wait for. */
    assert_true(evtimer_pending(s->signs.poll_timer, NULL));
    event_active(s->signs.poll_timer, EV_TIMEOUT, 0);
    turn(s);
    assert_int_equal(s->n_seen, 1);
}

/* memory.events of version 2, by inotify: each limit met is a sign, and nothing else is. */
static void test_events(void **state)
{
    struct scene *s = *state;
    be_in(s, "0::/hakmem.slice/hakmemd.service\n");
    const char *file = "sys/fs/cgroup/hakmem.slice/hakmemd.service/memory.events.local";
    const char *above = "sys/fs/cgroup/hakmem.slice/memory.events.local";
    fake_host_write(&s->fake, file, "low 0\nhigh 3\nmax 0\noom 0\noom_kill 0\n");
    fake_host_write(&s->fake, above, "max 9\n");
    begin(s, &s->fake.host);
    assert_string_equal(signs_description(&s->signs), "cgroup events");
    assert_int_equal(s->n_seen, 0);
    assert_false(evtimer_pending(s->signs.poll_timer, NULL)); /* nothing is polled */
    fake_host_write(&s->fake, file, "low 0\nhigh 4\nmax 0\noom 0\noom_kill 0\n");
    wait_for(s, 1);
    fake_host_write(&s->fake, file, "low 5\nhigh 4\nmax 0\noom 0\noom_kill 0\n");
    turn(s);
    assert_int_equal(s->n_seen, 1);
    fake_host_write(&s->fake, above, "max 10\n"); /* the slice's limit is ours, too */
    wait_for(s, 2);
    fake_host_write(&s->fake, file, "low 5\nhigh 4\nmax 0\noom 1\noom_kill 0\n");
    wait_for(s, 3);
}

static void test_failcnt(void **state)
{
    struct scene *s = *state;
    be_in(s, "4:memory:/box\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.failcnt", "7\n");
    begin(s, &s->fake.host);
    assert_string_equal(signs_description(&s->signs), "none"); /* no limit, nothing to meet */
    signs_deinit(&s->signs);
    cgroup_unref(s->own);
    cgroups_deinit(&s->cgroups);
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "67108864\n");
    begin(s, &s->fake.host);
    assert_string_equal(signs_description(&s->signs), "cgroup failcnt");
    event_active(s->signs.poll_timer, EV_TIMEOUT, 0);
    turn(s);
    assert_int_equal(s->n_seen, 0);
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.failcnt", "8\n");
    wait_for(s, 1);
}

/* A trigger is written to the group's memory.pressure; before what it has less exact. */
static void test_own_psi(void **state)
{
    struct scene *s = *state;
    char text[64] = {0};
    be_in(s, "0::/app\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/app/memory.events", "max 0\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/app/memory.pressure", "some avg10=0.00\n");
    begin(s, &s->fake.host);
    assert_true(host_read(fake_host_path(&s->fake, "sys/fs/cgroup/app/memory.pressure"), text,
                          sizeof(text)));
    assert_memory_equal(text, "some 150000 2000000", sizeof("some 150000 2000000"));
    /* Plain files cannot be waited for: the next best is taken. */
    assert_string_equal(signs_description(&s->signs), "cgroup events");
}

static void test_watch_a_fifo(void **state)
{
    struct scene *s = *state;
    const char *path = fake_host_path(&s->fake, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    setenv("MEMORY_PRESSURE_WATCH", path, 1);
    begin(s, &s->fake.host);
    assert_string_equal(signs_description(&s->signs), "cgroup watch");
    assert_string_equal(signs_source(&s->signs), "psi");
    for (unsigned i = 1; i <= 3; i++) { /* writers come and go */
        int fd = open(fake_host_path(&s->fake, "fifo"), O_WRONLY | O_NONBLOCK);
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
        wait_for(s, i);
    }
}

static void test_watch_a_socket(void **state)
{
    struct scene *s = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char words[64];
    const char *path = fake_host_path(&s->fake, "socket");
    assert_true(strlen(path) < sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 4), 0);
    setenv("MEMORY_PRESSURE_WATCH", address.sun_path, 1);
    setenv("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
    be_in(s, "0::/app\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/app/memory.events", "max 0\n");
    begin(s, &s->fake.host);
    assert_string_equal(signs_description(&s->signs), "cgroup watch");
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(read(fd, words, sizeof(words)), sizeof("some 200000 2000000"));
    assert_string_equal(words, "some 200000 2000000");
    assert_int_equal(write(fd, "now", 3), 3);
    wait_for(s, 1);
    /* It goes: the next best is watched. */
    close(fd);
    close(listener);
    uint64_t until_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    while (strcmp(signs_description(&s->signs), "cgroup events") != 0) {
        event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        assert_true(clock_now_ms() < until_ms);
    }
    fake_host_write(&s->fake, "sys/fs/cgroup/app/memory.events", "max 1\n");
    wait_for(s, 2);
}

/* systemd's word for "do not": no PSI, of whatever. */
static void test_watch_switched_off(void **state)
{
    struct scene *s = *state;
    setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1);
    begin(s, &host_default);
    assert_string_equal(signs_source(&s->signs), "meminfo");
}

static void test_decode(void **state)
{
    (void)state;
    unsigned char bytes[8];
    assert_int_equal(signs_decode("", bytes, 8), 0);
    assert_int_equal(signs_decode("AA==", bytes, 8), 1);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(signs_decode("aGFrbWVt", bytes, 6), 6);
    assert_memory_equal(bytes, "hakmem", 6);
    assert_int_equal(signs_decode("aGFrbWU=", bytes, 8), 5);
    assert_memory_equal(bytes, "hakme", 5);
    assert_int_equal(signs_decode("/+8=", bytes, 8), 2);
    assert_memory_equal(bytes, "\xff\xef", 2);
    assert_int_equal(signs_decode("aGFrbWVt", bytes, 5), -1); /* too long */
    assert_int_equal(signs_decode("aGFrbWV", bytes, 8), -1);
    assert_int_equal(signs_decode("a===", bytes, 8), -1);
    assert_int_equal(signs_decode("aG=r", bytes, 8), -1);
    assert_int_equal(signs_decode("aG r", bytes, 8), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_to_watch),
        TEST(test_this_host),
        TEST(test_meminfo),
        TEST(test_events),
        TEST(test_failcnt),
        TEST(test_own_psi),
        TEST(test_watch_a_fifo),
        TEST(test_watch_a_socket),
        TEST(test_watch_switched_off),
        cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
