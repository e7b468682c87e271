/* See notify.h. */
#include "hakmemd/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* 0 and the manager's address, or -ENOTCONN. */
static int find_manager(struct sockaddr_un *address, socklen_t *length)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(address->sun_path) || (path[0] != '/' && path[0] != '@'))
        return -ENOTCONN;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, n);
    if (path[0] == '@') /* the abstract namespace */
        address->sun_path[0] = '\0';
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    return 0;
}

int notify_manager_fd(const char *state, int fd)
{
    struct sockaddr_un address;
    socklen_t length;
    int r = find_manager(&address, &length);
    if (r < 0)
        return r;
    int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_fd < 0)
        return -errno;
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec text = {.iov_base = (char *)state, .iov_len = strlen(state)};
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = length, .msg_iov = &text, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
    }
    r = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
    close(socket_fd);
    return r;
}

void notify_manager(const char *state)
{
    (void)notify_manager_fd(state, -1);
}
