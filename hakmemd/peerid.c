/* See peerid.h. */
#include "hakmemd/peerid.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* As of Linux 6.13 (linux/pidfd.h); the kernel fills in what the caller's size has room for. */
struct info {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t others[12];
};
#define INFO_CGROUP ((uint64_t)1 << 2)
#define GET_INFO    _IOWR(0xff, 11, struct info)

int peerid_pidfd(int socket, int *pidfd_out)
{
    socklen_t length = sizeof(*pidfd_out);
    return getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, pidfd_out, &length) < 0 ? -errno : 0;
}

uint64_t peerid_cgroup(int socket)
{
    struct info info = {.mask = INFO_CGROUP};
    int pidfd;
    if (peerid_pidfd(socket, &pidfd) < 0)
        return 0;
    if (ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_CGROUP))
        info.cgroup_id = 0;
    close(pidfd);
    return info.cgroup_id;
}

/* Asks of ourselves. */
static bool has(bool (*ask)(int socket))
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    bool answer = ask(ends[0]);
    close(ends[0]);
    close(ends[1]);
    return answer;
}

static bool ask_pidfd(int socket)
{
    int pidfd;
    bool answer = peerid_pidfd(socket, &pidfd) == 0;
    if (answer)
        close(pidfd);
    return answer;
}

static bool ask_cgroup(int socket)
{
    return peerid_cgroup(socket) != 0;
}

bool peerid_has_pidfds(void)
{
    return has(ask_pidfd);
}

bool peerid_has_cgroups(void)
{
    return has(ask_cgroup);
}
