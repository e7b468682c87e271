/*
 * The configuration: an INI file, then `-o section.key=value` over it. docs and man/hakmemd.conf.5
 * list the keys.
 *
 * Every mistake is named with file, line and cause, and makes the whole unusable: a daemon that
 * runs on half of what its administrator wrote is worse than one that does not start. Knows the
 * keys; what they mean is the modules' business.
 */
#ifndef HAKMEMD_CONFIG_H
#define HAKMEMD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "hakmemd/server.h"

#define CONFIG_DEFAULT_FILE "/etc/hakmem/hakmemd.conf"
#define CONFIG_ERROR_BYTES  512

/* Where the configuration comes from: kept for a reload. Strings are borrowed. */
struct config_source {
    const char *file;       /* NULL: the default one, if it is there */
    const char *socket;     /* --socket, or NULL */
    const char **overrides; /* "section.key=value" */
    size_t n_overrides;
};

/*
 * Defaults, then the file, then the overrides. False: *settings_out is untouched and `error` says
 * what is wrong and where.
 */
bool config_load(const struct config_source *source, struct server_settings *settings_out,
                 char error[CONFIG_ERROR_BYTES]);

/* "64M" and the like, in bytes. False: not a size, or it overflows. */
bool config_parse_size(const char *text, uint64_t *n_bytes_out);

#endif
