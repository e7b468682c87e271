/* Packets with descriptors: whole or refused, nothing left open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conn.h"

static int ends[2];

static int open_pair(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int close_pair(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static void a_packet_arrives_whole_with_its_descriptors(void **state)
{
    (void)state;
    char bytes[64];
    size_t n_bytes, n_fds;
    int fds[CONN_MAX_FDS], sent[2] = {STDOUT_FILENO, STDERR_FILENO};
    assert_int_equal(conn_send(ends[0], "hello", 5, sent, 2), 0);
    assert_true(conn_unread_bytes(ends[0]) > 0);
    assert_int_equal(conn_recv(ends[1], bytes, sizeof(bytes), &n_bytes, fds, &n_fds), 0);
    assert_int_equal(conn_unread_bytes(ends[0]), 0);
    assert_int_equal(n_bytes, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(n_fds, 2);
    assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    conn_close_fds(fds, n_fds);
    assert_int_equal(fds[0], -1);
}

static void a_cut_packet_is_refused_and_its_descriptors_closed(void **state)
{
    (void)state;
    char bytes[4];
    size_t n_bytes = 99, n_fds = 99;
    int fds[CONN_MAX_FDS], sent[1] = {STDOUT_FILENO};
    unsigned before = count_fds();
    assert_int_equal(conn_send(ends[0], "too long", 8, sent, 1), 0);
    assert_int_equal(conn_recv(ends[1], bytes, sizeof(bytes), &n_bytes, fds, &n_fds), -EMSGSIZE);
    assert_int_equal(n_bytes, 99);
    assert_int_equal(n_fds, 99);
    assert_int_equal(count_fds(), before);
}

static void cut_descriptors_are_refused_and_closed(void **state)
{
    (void)state;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 40)];
    } control = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * 40);
    for (int i = 0; i < 40; i++)
        memcpy(CMSG_DATA(header) + i * (int)sizeof(int), &(int){STDOUT_FILENO}, sizeof(int));
    unsigned before = count_fds();
    assert_int_equal(sendmsg(ends[0], &message, 0), 1);
    char bytes[4];
    size_t n_bytes, n_fds;
    int fds[CONN_MAX_FDS];
    assert_int_equal(conn_recv(ends[1], bytes, sizeof(bytes), &n_bytes, fds, &n_fds), -EMSGSIZE);
    assert_int_equal(count_fds(), before);
}

static void ends_and_waits_are_told_apart(void **state)
{
    (void)state;
    char bytes[4];
    size_t n_bytes, n_fds;
    int fds[CONN_MAX_FDS];
    assert_int_equal(conn_recv(ends[1], bytes, sizeof(bytes), &n_bytes, fds, &n_fds), -EAGAIN);
    shutdown(ends[0], SHUT_RDWR);
    assert_int_equal(conn_recv(ends[1], bytes, sizeof(bytes), &n_bytes, fds, &n_fds), CONN_CLOSED);
    assert_int_equal(conn_send(ends[1], "x", 1, NULL, 0), -EPIPE);
}

static void what_cannot_be_sent_is_refused(void **state)
{
    (void)state;
    int fds[CONN_MAX_FDS + 1] = {0}, fd;
    char path[200];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(conn_send(ends[0], "", 0, NULL, 0), -EINVAL);
    assert_int_equal(conn_send(ends[0], "x", 1, fds, CONN_MAX_FDS + 1), -EINVAL);
    assert_int_equal(conn_connect(path, &fd), -ENAMETOOLONG);
    assert_int_equal(conn_connect("/nowhere/at/all", &fd), -ENOENT);
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    char bytes[4096] = {0};
    int r = 0;
    for (int i = 0; i < 10000 && r == 0; i++)
        r = conn_send(ends[0], bytes, sizeof(bytes), NULL, 0);
    assert_int_equal(r, -EAGAIN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_packet_arrives_whole_with_its_descriptors),
        TEST(a_cut_packet_is_refused_and_its_descriptors_closed),
        TEST(cut_descriptors_are_refused_and_closed),
        TEST(ends_and_waits_are_told_apart),
        TEST(what_cannot_be_sent_is_refused),
        TEST(a_full_queue_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
