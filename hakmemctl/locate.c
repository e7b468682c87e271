/* See locate.h. */
#include "hakmemctl/locate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Set by systemd/install.mk for a layout in which they are not beside the bin folder. */
#ifndef HAKMEM_LIBDIR
#define HAKMEM_LIBDIR "/usr/local/lib"
#endif
#ifndef HAKMEM_SBINDIR
#define HAKMEM_SBINDIR "/usr/local/sbin"
#endif

/* The folder of the running program, without a slash at its end. */
static int own_folder(char folder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (n < 0)
        return -errno;
    folder[n] = '\0';
    char *slash = strrchr(folder, '/');
    if (!slash)
        return -ENOENT;
    *slash = '\0';
    return 0;
}

/* 0 and the absolute path, if folder/name is a file that may be used in the given way (access(2)).
 */
static int try_file(const char *folder, const char *name, int mode, char path[PATH_MAX])
{
    char candidate[PATH_MAX], absolute[PATH_MAX];
    struct stat status;
    if (snprintf(candidate, sizeof(candidate), "%s/%s", folder, name) >= PATH_MAX ||
        access(candidate, mode) < 0 || !realpath(candidate, absolute) ||
        stat(absolute, &status) < 0 || !S_ISREG(status.st_mode))
        return -ENOENT;
    strcpy(path, absolute);
    return 0;
}

int locate_library(char path[PATH_MAX])
{
    char folder[PATH_MAX];
    const char *given = getenv("HAKMEM_LIBRARY");
    if (given && given[0])
        return given[0] == '/' ? try_file("", given + 1, R_OK, path)
                               : try_file(".", given, R_OK, path);
    if (own_folder(folder) == 0 && (try_file(folder, "libhakmem.so", R_OK, path) == 0 ||
                                    try_file(folder, "../lib/libhakmem.so.0", R_OK, path) == 0))
        return 0;
    return try_file(HAKMEM_LIBDIR, "libhakmem.so.0", R_OK, path);
}

static int search_path(const char *name, char path[PATH_MAX])
{
    const char *at = getenv("PATH");
    while (at && *at) {
        char folder[PATH_MAX];
        size_t n = strcspn(at, ":");
        /* An empty or relative part would be the working directory: no place to start a daemon
         * from. */
        if (at[0] == '/' && n < sizeof(folder)) {
            memcpy(folder, at, n);
            folder[n] = '\0';
            if (try_file(folder, name, X_OK, path) == 0)
                return 0;
        }
        at += n + (at[n] == ':');
    }
    return -ENOENT;
}

int locate_daemon(char path[PATH_MAX])
{
    char folder[PATH_MAX];
    if (own_folder(folder) == 0 && (try_file(folder, "hakmemd", X_OK, path) == 0 ||
                                    try_file(folder, "../sbin/hakmemd", X_OK, path) == 0))
        return 0;
    if (try_file(HAKMEM_SBINDIR, "hakmemd", X_OK, path) == 0)
        return 0;
    return search_path("hakmemd", path);
}
