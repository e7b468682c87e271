/*
 * The library's settings, from the environment, read once when the library is initialised. Ignored
 * in secure execution.
 */
#ifndef HAKMEM_LIBCLIENT_SETTINGS_H
#define HAKMEM_LIBCLIENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

enum settings_connect { SETTINGS_CONNECT_LAZY, SETTINGS_CONNECT_EAGER, SETTINGS_CONNECT_OFF };

struct settings {
    bool is_loaded; /* the environment has been read: until then, the daemon is not asked */
    const char
        *socket_path; /* HAKMEM_SOCKET, or NULL for the default; points into the environment */
    enum settings_connect connect; /* HAKMEM_CONNECT = lazy, eager, off */
    uint32_t wait_us; /* HAKMEM_WAIT_US: the longest wait for the daemon at one slow path */
    bool stats;       /* HAKMEM_STATS=1: one JSON line on stderr at exit */
    bool check;       /* HAKMEM_CHECK=1: canaries, quarantine, junk */
    bool watch;       /* not HAKMEM_CHECK=off: red zones around the first blocks */
    bool dontfork; /* HAKMEM_DONTFORK=1: leased memory is absent from children made behind our back
                    */
    bool foreign_next;  /* HAKMEM_FOREIGN=next: foreign pointers go to the next allocator */
    bool keep_deepbind; /* HAKMEM_DEEPBIND=keep: dlopen() is as without us */
    bool test_no_fork_conversion; /* HAKMEM_TEST_NO_FORK_CONVERSION=1, debug builds only: shows the
                                     test bites */
    bool test_purge; /* HAKMEM_TEST_PURGE=1, likewise: free pages go as soon as they are seen */
    bool test_blind_witness; /* HAKMEM_TEST_BLIND_WITNESS=1, likewise: takes children for gone */
};

/* The settings in force: defaults until settings_load(). */
extern struct settings settings __attribute__((visibility("hidden")));

void settings_load(void);

#endif
