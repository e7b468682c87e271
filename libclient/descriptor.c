/* See descriptor.h. */
#include "libclient/descriptor.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libclient/glue.h"

#define FLOOR 3

/* Where the program may have fewer. */
static rlim_t lower_ceiling(rlim_t ceiling, uint64_t *n_syscalls)
{
    struct rlimit limit;
    *n_syscalls += 1;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < ceiling ? limit.rlim_cur
                                                                             : ceiling;
}

/* Consumes `fd`; its new number, or its old one when nothing higher is free, or -1. */
static int move_high(int fd, uint64_t *n_syscalls)
{
    rlim_t ceiling = (rlim_t)glue_first_descriptor() + 1;
    *n_syscalls += 1;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)ceiling - 1);
    if (high < 0)
        ceiling = lower_ceiling(ceiling, n_syscalls);
    for (rlim_t below = 1; high < 0 && below + FLOOR <= ceiling; below *= 2) {
        *n_syscalls += 1;
        high = fcntl(fd, F_DUPFD_CLOEXEC, (int)(ceiling - below));
    }
    if (high < 0 && fd >= FLOOR)
        return fd;
    *n_syscalls += 1;
    glue_close_uncounted(fd);
    return high;
}

bool descriptor_adopt(struct descriptor *descriptor, int fd, uint64_t *n_syscalls)
{
    struct stat status;
    fd = move_high(fd, n_syscalls);
    if (fd < 0)
        return false;
    *n_syscalls += 1;
    if (glue_stat(fd, &status) < 0) {
        glue_close_uncounted(fd);
        return false;
    }
    *descriptor = (struct descriptor){.fd = fd, .dev = status.st_dev, .ino = status.st_ino};
    return true;
}

bool descriptor_is_ours(const struct descriptor *descriptor, uint64_t *n_syscalls)
{
    struct stat status;
    if (descriptor->fd < 0)
        return false;
    *n_syscalls += 1;
    return glue_stat(descriptor->fd, &status) == 0 && status.st_dev == descriptor->dev &&
           status.st_ino == descriptor->ino;
}

bool descriptor_release(struct descriptor *descriptor, uint64_t *n_syscalls)
{
    bool is_ours = true;
    if (descriptor->fd >= 0) {
        is_ours = descriptor_is_ours(descriptor, n_syscalls);
        if (is_ours) {
            *n_syscalls += 1;
            glue_close_uncounted(descriptor->fd);
        }
    }
    descriptor->fd = -1;
    return is_ours;
}
