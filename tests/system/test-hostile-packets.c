/*
 * Packets that are none, too large, or the wrong ones at the wrong time, and returns of what is not
 * held: the daemon hangs up or refuses, and nobody else notices.
 */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-attack.h"
#include "proto/wire.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

/* ---- packets that are none ---- */

/*
 * Sends it on a connection of its own, before and after a Hello: the daemon must hang up, or, if it
 * may, answer with an error or with nothing granted.
 */
static void send_alone(const void *bytes, size_t n_bytes, bool may_answer)
{
    for (int says_hello = 0; says_hello < 2; says_hello++) {
        struct client client;
        int fds[CONN_MAX_FDS];
        size_t n_fds;
        if (says_hello)
            attack_hello(&client);
        else
            client_connect(&client, &attack_daemon);
        require_equal(client_send_bytes(&client, bytes, n_bytes), 0);
        if (may_answer) {
            (void)client_receive(&client, fds, &n_fds);
            require_equal(n_fds, 0);
        } else {
            (void)client_expect_hang_up(&client);
        }
        client_close(&client);
    }
}

static void require_dropped(const void *bytes, size_t n_bytes)
{
    send_alone(bytes, n_bytes, false);
}

static size_t pack(Hakmem__Request *request, unsigned char *packet, size_t capacity)
{
    size_t n_bytes;
    require_equal(wire_pack_request(request, packet, capacity, &n_bytes), 0);
    return n_bytes;
}

static void test_malformed_packets(void **state)
{
    (void)state;
    static unsigned char packet[1 << 17];
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Return body = HAKMEM__RETURN__INIT;
    uint64_t ids[64], before = attack_protocol_errors();
    unsigned seed = 11;
    size_t n;

    for (int round = 0; round < 60; round++) {
        n = 1 + (size_t)rand_r(&seed) % 600;
        for (size_t i = 0; i < n; i++)
            packet[i] = (unsigned char)rand_r(&seed);
        packet[0] |= 7; /* no wire type: nothing that happens to be right */
        require_dropped(packet, n);
    }
    /* A real one, cut short at every length. */
    for (size_t i = 0; i < 64; i++)
        ids[i] = UINT64_MAX;
    request.id = 300;
    request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
    request.return_extents = &body;
    body.n_extent_ids = 4;
    body.extent_ids = ids;
    size_t n_whole = pack(&request, packet, sizeof(packet));
    for (n = 1; n < n_whole; n++) {
        /* After the id it is a request of no kind that is known: one from the future, perhaps. */
        send_alone(packet, n, n == 3);
    }
    require(attack_protocol_errors() >= before + 120);
    attack_require_unharmed();
}

static void test_oversized_packets(void **state)
{
    (void)state;
    static unsigned char packet[1 << 17];
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__SetQuota quota = HAKMEM__SET_QUOTA__INIT;
    static char key[CONN_REQUEST_MAX_BYTES + 64];
    size_t n;

    /* Well-formed, but for its length. */
    memset(key, 'k', sizeof(key) - 1);
    quota.key = key;
    request.body_case = HAKMEM__REQUEST__BODY_SET_QUOTA;
    request.set_quota = &quota;
    n = pack(&request, packet, sizeof(packet));
    require_dropped(packet, n);
    memset(packet, 0, sizeof(packet));
    require_dropped(packet, CONN_REQUEST_MAX_BYTES + 1);
    require_dropped(packet, sizeof(packet));
    /* Nested as deep as fits: fields within fields, and groups within groups. */
    n = CONN_REQUEST_MAX_BYTES;
    for (size_t i = 0; i + 3 < n; i += 3) {
        size_t left = n - i - 3;
        packet[i] = 4 << 3 | 2;
        packet[i + 1] = (unsigned char)(left & 0x7f) | 0x80;
        packet[i + 2] = (unsigned char)(left >> 7);
    }
    send_alone(packet, n, true); /* fields that are not known may be skipped */
    memset(packet, 15 << 3 | 3, CONN_REQUEST_MAX_BYTES);
    require_dropped(packet, CONN_REQUEST_MAX_BYTES);
    /* An empty packet looks like the end. */
    struct client client;
    attack_hello(&client);
    require_equal(send(client.socket, "", 0, MSG_NOSIGNAL), 0);
    (void)client_expect_hang_up(&client);
    client_close(&client);
    attack_require_unharmed();
}

/* A list that unpacks into far more memory than the packet has bytes. */
static void test_packets_that_expand(void **state)
{
    (void)state;
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Return body = HAKMEM__RETURN__INIT;
    static uint64_t ids[CONN_REQUEST_MAX_BYTES - 16];
    for (int says_hello = 0; says_hello < 2; says_hello++) {
        struct client client;
        int fds[CONN_MAX_FDS];
        size_t n_fds;
        if (says_hello)
            attack_hello(&client);
        else
            client_connect(&client, &attack_daemon);
        request.id = 9;
        request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
        request.return_extents = &body;
        body.n_extent_ids = sizeof(ids) / sizeof(ids[0]);
        body.extent_ids = ids;
        require_equal(client_send_bytes(&client, packet, pack(&request, packet, sizeof(packet))),
                      0);
        Hakmem__Reply *reply = client_receive(&client, fds, &n_fds);
        require(!reply || reply->body_case == HAKMEM__REPLY__BODY_ERROR);
        client_close(&client);
    }
    attack_require_unharmed();
}

/* ---- descriptors: for the daemon to send ---- */

#define MANY_FDS 200

/* A Ping with descriptors, so often this one. 0, or -EPERM: the kernel refuses it, as the daemon
 * asks it to. */
static int send_with_fds(struct client *client, int fd, size_t n_fds)
{
    unsigned char packet[64];
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Ping ping = HAKMEM__PING__INIT;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MANY_FDS * sizeof(int))];
    } control = {0};
    request.id = 1;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &ping;
    struct iovec part = {.iov_base = packet, .iov_len = pack(&request, packet, sizeof(packet))};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * n_fds)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
    for (size_t i = 0; i < n_fds; i++)
        memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(int));
    if (sendmsg(client->socket, &message, MSG_NOSIGNAL) < 0) {
        require_equal(errno, EPERM);
        return -EPERM;
    }
    return 0;
}

/* Those that came all the same, before Linux 6.16, are closed. */
static void test_sent_descriptors(void **state)
{
    (void)state;
    uint64_t before = attack_protocol_errors(), n_came = 0;
    const size_t n_sent[] = {1, 15, 16, 17, MANY_FDS};
    for (int round = 0; round < 50; round++) {
        struct client client;
        attack_hello(&client);
        if (send_with_fds(&client, STDERR_FILENO, n_sent[round % 5]) == 0) {
            n_came++;
            (void)client_expect_hang_up(&client);
        }
        client_close(&client);
    }
    require(attack_protocol_errors() >= before + n_came);
    attack_require_unharmed();
}

/* A TCP socket whose last close takes a minute: it has something to send, and nobody reads that. */
static int make_lingering(int *listener_out, int *other_end_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    struct linger linger = {.l_onoff = 1, .l_linger = 60};
    static char bytes[65536];
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(fd, (struct sockaddr *)&address, length) < 0)
        skip(); /* no network at all */
    *other_end_out = accept(listener, NULL, NULL);
    *listener_out = listener;
    require(*other_end_out >= 0);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    require_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return fd;
}

/* One that the daemon would have to close, while nobody else has it any more. */
static void test_descriptor_that_lingers(void **state)
{
    (void)state;
    struct client client, other;
    attack_hello(&client);
    attack_hello(&other);
    int is_on;
    socklen_t length = sizeof(is_on);
    if (getsockopt(client.socket, SOL_SOCKET, SO_PASSRIGHTS, &is_on, &length) < 0)
        skip(); /* before Linux 6.16 it cannot be helped */
    int listener, other_end, fd = make_lingering(&listener, &other_end);
    daemon_signal(&attack_daemon, SIGSTOP);
    int r = send_with_fds(&client, fd, 1);
    if (r == 0)
        close(fd);
    client_close(&client);
    daemon_signal(&attack_daemon, SIGCONT);
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    require_equal(client_lease(&other, 1, 1, leases, &n), NONE); /* it answers */
    lease_map(&other, &leases[0]);
    lease_give_back(&other, &leases[0]);
    client_close(&other);
    shutdown(other_end, SHUT_RDWR);
    close(other_end);
    close(listener);
    if (r < 0) {
        struct linger none = {0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        close(fd);
    }
    attack_require_unharmed();
}

/* ---- the wrong thing at the wrong time ---- */

static void test_out_of_order(void **state)
{
    (void)state;
    const Hakmem__ErrorCode out_of_order = HAKMEM__ERROR_CODE__ERROR_STATE;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    uint64_t id = 1;
    uint32_t n_accepted;
    size_t n;

    /* Hello never. */
    client_connect(&client, &attack_daemon);
    require_equal(client_lease(&client, 1, 1, leases, &n), out_of_order);
    (void)client_expect_hang_up(&client);
    client_close(&client);
    client_connect(&client, &attack_daemon);
    require_equal(client_return(&client, &id, 1, &n_accepted), out_of_order);
    (void)client_expect_hang_up(&client);
    client_close(&client);
    /* Hello twice. */
    attack_hello(&client);
    require_equal(client_hello(&client, 1, leases, &n), out_of_order);
    (void)client_expect_hang_up(&client);
    client_close(&client);
    /* A version from the future. */
    Hakmem__Hello future = HAKMEM__HELLO__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    future.version_min = 1000;
    future.version_max = 2000;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &future;
    client_connect(&client, &attack_daemon);
    require_equal(client_send(&client, &request), 0);
    require_equal(client_expect_hang_up(&client), HAKMEM__ERROR_CODE__ERROR_VERSION);
    client_close(&client);
    attack_require_unharmed();
}

static void test_false_returns(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    struct client honest, liar;
    struct lease theirs, mine;
    uint32_t n_accepted;
    uint64_t ids[3];

    client_begin(&honest, &attack_daemon, &theirs);
    lease_fill(&theirs, 0x66);
    client_begin(&liar, &attack_daemon, &mine);
    /* What is another's, what never was, and one's own three times. */
    ids[0] = theirs.id;
    ids[1] = UINT64_MAX;
    ids[2] = 0;
    (void)client_return(&liar, ids, 3, &n_accepted);
    require_equal(n_accepted, 0);
    stats_get(&attack_daemon, &stats);
    require(stats.leased_bytes >= 2 * SUPERSLAB_BYTES);
    lease_drop(&liar, &mine);
    ids[0] = ids[1] = ids[2] = mine.id;
    (void)client_return(&liar, ids, 3, &n_accepted);
    require_equal(n_accepted, 1);
    (void)client_return(&liar, ids, 1, &n_accepted);
    require_equal(n_accepted, 0);
    client_close(&liar);
    require(lease_is(&theirs, 0x66));
    lease_give_back(&honest, &theirs);
    client_close(&honest);
    attack_require_unharmed();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, attack_setup, attack_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_malformed_packets),       TEST(test_oversized_packets),
        TEST(test_packets_that_expand),     TEST(test_sent_descriptors),
        TEST(test_descriptor_that_lingers), TEST(test_out_of_order),
        TEST(test_false_returns),
    };
    return cmocka_run_group_tests_name("hostile-packets", tests, attack_group_setup,
                                       attack_group_teardown);
}
