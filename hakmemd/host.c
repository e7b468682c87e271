/* See host.h. */
#include "hakmemd/host.h"

#include <fcntl.h>
#include <unistd.h>

const struct host host_default = {.proc = "/proc", .sys = "/sys"};

bool host_read(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, capacity - 1);
    close(fd);
    if (n < 0)
        return false;
    text[n] = '\0';
    return true;
}
