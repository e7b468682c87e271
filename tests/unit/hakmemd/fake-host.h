/*
 * A host made up of files: the parts of /proc and /sys that the daemon reads, in a folder of their
 * own, for tests that set struct host to it.
 */
#ifndef HAKMEM_TESTS_UNIT_HAKMEMD_FAKE_HOST_H
#define HAKMEM_TESTS_UNIT_HAKMEMD_FAKE_HOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hakmemd/host.h"

struct fake_host {
    char folder[64];
    struct host host;
};

static inline void fake_host_init(struct fake_host *fake)
{
    snprintf(fake->folder, sizeof(fake->folder), "/tmp/hakmem-host.XXXXXX");
    assert_non_null(mkdtemp(fake->folder));
    snprintf(fake->host.proc, sizeof(fake->host.proc), "%s/proc", fake->folder);
    snprintf(fake->host.sys, sizeof(fake->host.sys), "%s/sys", fake->folder);
}

static inline int fake_host_remove_one(const char *path, const struct stat *status, int type,
                                       struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void fake_host_deinit(struct fake_host *fake)
{
    assert_int_equal(nftw(fake->folder, fake_host_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Path below the folder; valid until the next call. */
static inline const char *fake_host_path(const struct fake_host *fake, const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", fake->folder, name);
    return path;
}

/* Writes a file, and makes the folders that it is in. Written in place, as the kernel's are. */
__attribute__((format(printf, 3, 4))) static inline void
fake_host_write(const struct fake_host *fake, const char *name, const char *format, ...)
{
    char path[512];
    snprintf(path, sizeof(path), "%s", fake_host_path(fake, name));
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    assert_int_equal(fclose(file), 0);
}

static inline void fake_host_remove(const struct fake_host *fake, const char *name)
{
    assert_int_equal(
        nftw(fake_host_path(fake, name), fake_host_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
