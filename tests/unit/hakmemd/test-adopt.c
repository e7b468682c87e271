/* What a daemon's successor knows of the extents that it takes over: of which NUMA node they are;
 * and whose they are among many. (The rest: tests/system/test-adopt.c, with whole daemons.) */
#include "fixture.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define N_STORED_MAX 64

static const struct topology two_nodes = {
    .n_nodes = 2,
    .nodes = {{.id = 0, .by_distance = {0, 1}}, {.id = 1000, .by_distance = {1, 0}}},
    .node_of_cpu = {[0] = 0, [1] = 1},
};
/* The same host after a boot that found its nodes in another order. */
static const struct topology two_nodes_swapped = {
    .n_nodes = 2,
    .nodes = {{.id = 1000, .by_distance = {0, 1}}, {.id = 0, .by_distance = {1, 0}}},
    .node_of_cpu = {[0] = 1, [1] = 0},
};
static const struct topology one_node = {.n_nodes = 1};

/* ---- a service manager that keeps descriptors ---- */

struct manager {
    int socket;
    int fds[N_STORED_MAX];
    char *names[N_STORED_MAX + 1];
    size_t n;
};

static void manager_init(struct manager *manager)
{
    char address[32];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int n = snprintf(address, sizeof(address), "@hakmem-test-%d", (int)getpid());
    memcpy(name.sun_path + 1, address + 1, (size_t)n - 1);
    *manager = (struct manager){.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(manager->socket, (struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
                     0);
    setenv("NOTIFY_SOCKET", address, 1);
    setenv("FDSTORE", "100", 1);
}

/* Takes what was sent: a descriptor and its name each. */
static void manager_read(struct manager *manager)
{
    for (;;) {
        char text[256], name[16];
        union {
            struct cmsghdr header;
            unsigned char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(manager->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0)
            return;
        text[n] = '\0';
        if (sscanf(text, "FDSTORE=1 FDPOLL=0 FDNAME=%15s", name) != 1)
            continue;
        assert_true(manager->n < N_STORED_MAX && message.msg_controllen > 0);
        memcpy(&manager->fds[manager->n], CMSG_DATA(&control.header), sizeof(int));
        manager->names[manager->n++] = strdup(name);
    }
}

static void manager_deinit(struct manager *manager)
{
    close(manager->socket);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("FDSTORE");
}

/* What it passes to the next daemon, which takes what it can use. */
static void manager_pass(struct manager *manager, struct store_passed *passed_out)
{
    *passed_out =
        (struct store_passed){.fds = manager->fds, .names = manager->names, .n = manager->n};
}

/* ---- two daemons, one after the other ---- */

static struct fixture *begin(const struct topology *topology, struct store_passed *passed)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct core_settings settings = {.host = host_default,
                                     .topology = topology,
                                     .pool = {.max_bytes = 512 * MIB, .recycled_ms = 60000},
                                     .idle_ms = 60000,
                                     .reuse = REUSE_SAME_USER,
                                     .quota = fixture_quota,
                                     .pressure = {.some_us = 1000, .quiet_ms = 1000},
                                     .reattach_ms = 60000};
    assert_non_null(f);
    signal(SIGIO, SIG_IGN);
    f->stats.fd_limit = 1000;
    assert_int_equal(core_init(f, &settings, event_base_new(), passed), 0);
    return f;
}

static uint64_t lease_from(struct fixture *f, struct fixture_client *c, uint32_t cpu)
{
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n;
    lease_set_cpu(&f->leases, c->client, cpu + 1);
    assert_int_equal(lease_grant(&f->leases, c->client, 2, 2, 1, grants, &n), 0);
    assert_int_equal(grants[0].extent->node, cpu);
    close(grants[0].fd);
    return grants[0].extent->id;
}

/* Leases from both nodes; SIGTERM; and what the successor on `topology` takes each to be of. */
static void take_over(const struct topology *topology, const unsigned nodes[2])
{
    struct manager manager;
    struct store_passed passed = {0};
    uint64_t ids[2];
    manager_init(&manager);
    struct fixture *f = begin(&two_nodes, &passed);
    struct fixture_client c = fixture_client_new(f, getuid());
    for (uint32_t cpu = 0; cpu < 2; cpu++)
        ids[cpu] = lease_from(f, &c, cpu);
    fixture_wait(f, list_is_empty(&f->store.waiting));
    store_freeze(&f->store);
    fixture_client_end(f, &c);
    fixture_free(f);
    manager_read(&manager);

    manager_pass(&manager, &passed);
    f = begin(topology, &passed);
    assert_int_equal(f->stats.n_detached, 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct extent *extent = extent_find(&f->extents, ids[i]);
        assert_non_null(extent);
        assert_int_equal(extent->state, EXTENT_LEASED);
        assert_int_equal(extent->node, nodes[i]);
    }
    fixture_free(f);
    for (size_t i = 0; i < manager.n; i++)
        free(manager.names[i]);
    manager_deinit(&manager);
}

static void test_nodes_are_kept(void **state)
{
    (void)state;
    take_over(&two_nodes, (const unsigned[]){0, 1});
    take_over(&two_nodes_swapped, (const unsigned[]){1, 0});
}

/* A node that is not there any more is the first. */
static void test_nodes_that_are_gone(void **state)
{
    (void)state;
    take_over(&one_node, (const unsigned[]){0, 0});
}

/* ---- many processes ---- */

#define N_PROCESSES 20
#define USER_A      20001
#define USER_B      20002

struct known_client {
    pid_t pid;
    uid_t uid;
    uint64_t id;
    unsigned char token[STORE_TOKEN_BYTES];
};

/* Nobody is told what another is, though they are made many at a time. */
static void expect_tokens_of_their_own(const struct known_client *known, size_t n)
{
    static const unsigned char zeros[STORE_TOKEN_BYTES];
    for (size_t i = 0; i < n; i++) {
        assert_memory_not_equal(known[i].token, zeros, STORE_TOKEN_BYTES);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(known[i].token, known[k].token, STORE_TOKEN_BYTES);
    }
}

static pid_t start_process(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(120); /* should the test fail before it ends us */
        for (;;)
            pause();
    }
    assert_true(child > 0);
    return child;
}

static struct client *new_client(struct fixture *f, pid_t pid, uid_t uid)
{
    struct client *client;
    assert_int_equal(client_new(&f->quota, &f->ledgers, &f->cgroups, pid, uid, 0, 1, &client), 0);
    lease_add_client(&f->leases, client);
    return client;
}

static struct client *claim(struct fixture *f, const struct known_client *known, pid_t pid,
                            uid_t uid)
{
    return adopt_reattach(&f->adopt, known->id, known->token, sizeof(known->token), pid, uid);
}

static void end_at_once(struct fixture *f, struct client *client)
{
    client->on_quiet_data = f;
    client_end(client, fixture_on_quiet);
}

/* Each process has a client of either user, and every other one does not come back, but begins
 * anew, as one of them. */
static void test_each_finds_its_own(void **state)
{
    (void)state;
    struct manager manager;
    struct store_passed passed = {0};
    struct known_client known[N_PROCESSES][2];
    struct client *clients[N_PROCESSES][2];
    manager_init(&manager);
    struct fixture *f = begin(&one_node, &passed);
    for (unsigned i = 0; i < N_PROCESSES; i++) {
        pid_t pid = start_process();
        for (unsigned k = 0; k < 2; k++) {
            struct client *client = clients[i][k] = new_client(f, pid, k ? USER_B : USER_A);
            known[i][k] = (struct known_client){.pid = pid, .uid = client->uid, .id = client->id};
            memcpy(known[i][k].token, client->token, sizeof(client->token));
        }
    }
    assert_true(N_PROCESSES * 2 > 2 * STORE_N_TOKENS);
    expect_tokens_of_their_own(known[0], N_PROCESSES * 2);
    fixture_wait(f, (manager_read(&manager), list_is_empty(&f->store.waiting)));
    store_freeze(&f->store);
    for (unsigned i = 0; i < N_PROCESSES * 2; i++)
        end_at_once(f, clients[i / 2][i % 2]);
    fixture_free(f);
    manager_read(&manager);

    manager_pass(&manager, &passed);
    f = begin(&one_node, &passed);
    uint64_t n = 2 * N_PROCESSES;
    assert_int_equal(f->stats.n_detached, n);
    for (unsigned i = 0; i < N_PROCESSES; i++) {
        const struct known_client *own = known[i], *next = known[(i + 1) % N_PROCESSES];
        assert_null(claim(f, &own[0], next[0].pid, USER_A));
        assert_null(claim(f, &own[0], own[0].pid, USER_B));
        assert_int_equal(f->stats.n_detached, n);
        struct client *client = NULL;
        if (i % 2 == 0) {
            client = claim(f, &own[0], own[0].pid, USER_A);
            assert_non_null(client);
            assert_int_equal(client->id, own[0].id);
        } else {
            adopt_forget(&f->adopt, own[0].pid, USER_A);
        }
        assert_int_equal(f->stats.n_detached, n - 1);
        assert_null(claim(f, &own[0], own[0].pid, USER_A));
        if (client)
            end_at_once(f, client);
        /* The other user's is left, until its process ends. */
        kill(own[1].pid, SIGKILL);
        waitpid(own[1].pid, NULL, 0);
        fixture_wait(f, f->stats.n_detached == n - 2);
        assert_null(claim(f, &own[1], own[1].pid, USER_B));
        n -= 2;
    }
    fixture_wait(f, f->leases.n_clients == 0);
    fixture_free(f);
    for (size_t i = 0; i < manager.n; i++)
        free(manager.names[i]);
    manager_deinit(&manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_are_kept),
        cmocka_unit_test(test_nodes_that_are_gone),
        cmocka_unit_test(test_each_finds_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
