/* See settings.h. */
#include "libclient/settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings settings = {.connect = SETTINGS_CONNECT_LAZY, .wait_us = 2000, .watch = true};

static bool is_on(const char *value)
{
    return value && strcmp(value, "1") == 0;
}

/* Digits alone, at most 60 seconds' worth; anything else keeps the default. */
static void read_wait(const char *value)
{
    uint64_t us = 0;
    if (!value || !*value)
        return;
    for (const char *c = value; *c; c++) {
        if (*c < '0' || *c > '9')
            return;
        us = us * 10 + (uint64_t)(*c - '0');
        if (us > 60000000)
            return;
    }
    settings.wait_us = (uint32_t)us;
}

static void read_all(void)
{
    /* secure_getenv: a set-uid program must not be told by its caller where its memory comes from.
     */
    const char *path = secure_getenv("HAKMEM_SOCKET");
    const char *mode = secure_getenv("HAKMEM_CONNECT");
    const char *foreign = secure_getenv("HAKMEM_FOREIGN");
    const char *deepbind = secure_getenv("HAKMEM_DEEPBIND");
    const char *check = secure_getenv("HAKMEM_CHECK");

    settings.socket_path = path && *path ? path : NULL;
    if (mode && strcmp(mode, "off") == 0)
        settings.connect = SETTINGS_CONNECT_OFF;
    else if (mode && strcmp(mode, "eager") == 0)
        settings.connect = SETTINGS_CONNECT_EAGER;
    read_wait(secure_getenv("HAKMEM_WAIT_US"));
    settings.stats = is_on(secure_getenv("HAKMEM_STATS"));
    settings.check = is_on(check);
    settings.watch = !settings.check && !(check && strcmp(check, "off") == 0);
    settings.dontfork = is_on(secure_getenv("HAKMEM_DONTFORK"));
    settings.keep_deepbind = deepbind && strcmp(deepbind, "keep") == 0;
    settings.foreign_next = foreign && strcmp(foreign, "next") == 0;
#ifdef HAKMEM_DEBUG
    settings.test_no_fork_conversion = is_on(secure_getenv("HAKMEM_TEST_NO_FORK_CONVERSION"));
    settings.test_purge = is_on(secure_getenv("HAKMEM_TEST_PURGE"));
    settings.test_blind_witness = is_on(secure_getenv("HAKMEM_TEST_BLIND_WITNESS"));
#endif
}

static bool is_ours(const char *variable)
{
    const char *prefix = "HAKMEM_";
    while (*prefix && *prefix == *variable) {
        prefix++;
        variable++;
    }
    return !*prefix;
}

/* Is there anything to be read? Few programs are told anything, and libc's functions are each in a
 * page that a new process has to bring in. */
static bool is_told_anything(void)
{
    for (char **variable = environ; variable && *variable; variable++) {
        if (is_ours(*variable))
            return true;
    }
    return false;
}

void settings_load(void)
{
    settings.is_loaded = true;
    if (is_told_anything())
        read_all();
}
