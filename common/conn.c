/* See conn.h. Raw sendmsg/recvmsg: no allocation, no globals; safe in the client's malloc and in
 * the daemon's loop. */
#include "common/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union fds_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * CONN_MAX_FDS)];
};

int conn_send(int socket, const void *packet, size_t n_bytes, const int *fds, size_t n_fds)
{
    union fds_control control;
    struct iovec part = {.iov_base = (void *)packet, .iov_len = n_bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    /* An empty packet cannot be told from end of file. */
    if (n_bytes == 0 || n_fds > CONN_MAX_FDS)
        return -EINVAL;
    if (n_fds > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
    }
    ssize_t n_sent;
    do {
        n_sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n_sent < 0 && errno == EINTR);
    if (n_sent < 0)
        return errno == ENOBUFS ? -EAGAIN : -errno;
    return 0;
}

/* Takes every descriptor out of the control data, also beyond what the caller can hold. */
static size_t take_fds(struct msghdr *message, int *fds)
{
    size_t n_fds = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (n_fds < CONN_MAX_FDS)
                fds[n_fds++] = fd;
            else
                close(fd);
        }
    }
    return n_fds;
}

int conn_recv(int socket, void *packet, size_t capacity, size_t *n_bytes, int fds[CONN_MAX_FDS],
              size_t *n_fds)
{
    union fds_control control;
    struct iovec part = {.iov_base = packet, .iov_len = capacity};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n_received;
    do {
        n_received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n_received < 0 && errno == EINTR);
    if (n_received < 0)
        return -errno;

    int taken[CONN_MAX_FDS];
    size_t n_taken = take_fds(&message, taken);
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        conn_close_fds(taken, n_taken);
        return -EMSGSIZE;
    }
    /* Zero bytes is end of file, or a packet that conn_send() would not have sent: the same to us.
     */
    if (n_received == 0) {
        conn_close_fds(taken, n_taken);
        return CONN_CLOSED;
    }
    memcpy(fds, taken, n_taken * sizeof(int));
    *n_bytes = (size_t)n_received;
    *n_fds = n_taken;
    return 0;
}

void conn_close_fds(int *fds, size_t n_fds)
{
    for (size_t i = 0; i < n_fds; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

int conn_connect(const char *path, int *socket_out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, n + 1);

    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r;
    do {
        r = connect(fd, (struct sockaddr *)&address, sizeof(address));
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *socket_out = fd;
    return 0;
}

ssize_t conn_unread_bytes(int socket)
{
    int n_unread = 0;
    if (ioctl(socket, SIOCOUTQ, &n_unread) < 0)
        return -errno;
    return n_unread;
}
