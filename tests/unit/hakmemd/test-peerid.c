/* What the kernel says of who has connected: of that very process, and of the group it is in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/peerid.h"

/* Where version 2 is mounted, or NULL. */
static const char *mount_of_version_2(void)
{
    static const char *const folders[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    char path[64];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/cgroup.procs", folders[i]);
        if (access(path, F_OK) == 0)
            return folders[i];
    }
    return NULL;
}

static void move_to(const char *folder)
{
    char path[256], text[32];
    snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        _exit(77);
    close(fd);
}

/* A child that connects, moves when it is told to, and waits. */
static pid_t start_peer(int listener, const struct sockaddr_un *address, const char *folder,
                        int *socket_out, int *control_out)
{
    int ends[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        alarm(60);
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
            read(ends[1], &byte, 1) != 1)
            _exit(1);
        move_to(folder);
        if (write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    *socket_out = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*socket_out >= 0);
    *control_out = ends[0];
    return child;
}

static int listen_somewhere(struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "hakmem-test-peerid-%d",
             (int)getpid());
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_group_of_a_peer(void **state)
{
    (void)state;
    const char *mount = mount_of_version_2();
    char folder[128], byte;
    struct sockaddr_un address;
    struct stat status;
    int fd, control, child_status;
    if (!mount || !peerid_has_cgroups())
        skip();
    snprintf(folder, sizeof(folder), "%s/hakmem-test-%d", mount, (int)getpid());
    if (mkdir(folder, 0755) < 0)
        skip();
    int listener = listen_somewhere(&address);
    pid_t child = start_peer(listener, &address, folder, &fd, &control);
    uint64_t before = peerid_cgroup(fd);
    assert_int_not_equal(before, 0);
    assert_int_equal(write(control, "", 1), 1);
    bool has_moved = read(control, &byte, 1) == 1;
    uint64_t after = peerid_cgroup(fd);
    assert_int_equal(stat(folder, &status), 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &child_status, 0), child);
    uint64_t gone = peerid_cgroup(fd);
    uint64_t until_ms = clock_now_ms() + 20000;
    while (rmdir(folder) < 0) /* the kernel notes the end of a process a little later */
        assert_true(errno == EBUSY && clock_now_ms() < until_ms);
    close(fd);
    close(control);
    close(listener);
    assert_int_equal(gone, 0);
    if (!has_moved) /* it may not */
        skip();
    assert_int_equal(after, status.st_ino);
    assert_int_not_equal(before, after);
}

static void test_pidfd_of_a_peer(void **state)
{
    (void)state;
    int ends[2], pidfd = -1, status;
    if (!peerid_has_pidfds())
        skip();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(peerid_pidfd(ends[0], &pidfd), 0);
    assert_true(pidfd >= 0);
    assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    close(pidfd);
    close(ends[0]);
    close(ends[1]);
    pid_t child = fork();
    if (child == 0)
        _exit(peerid_pidfd(STDIN_FILENO, &pidfd) == 0); /* no socket */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(peerid_cgroup(-1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pidfd_of_a_peer),
        cmocka_unit_test(test_group_of_a_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
