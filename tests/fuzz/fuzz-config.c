/*
 * Configuration files and -o overrides into config_load(). A file is taken whole, with values that
 * the daemon can run on, or refused with a message of one line; sizes that are read back are those
 * that were written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/config.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_OVERRIDES = 4, OVERRIDE_BYTES = 100 };

static void check_settings(const struct server_settings *settings)
{
    check_or_trap(settings->pool.min_bytes <= settings->pool.max_bytes);
    check_or_trap(settings->quota.n_overrides <= QUOTA_N_OVERRIDES_MAX);
    check_or_trap(strnlen(settings->socket_path, sizeof(settings->socket_path)) <
                  sizeof(settings->socket_path));
    check_or_trap(settings->quota.defaults.requests_per_second > 0);
    check_or_trap((settings->socket_mode & ~0777u) == 0);
}

static void check_size(const char *text)
{
    uint64_t n_bytes, again;
    char printed[32];
    if (!config_parse_size(text, &n_bytes))
        return;
    snprintf(printed, sizeof(printed), "%llu", (unsigned long long)n_bytes);
    check_or_trap(config_parse_size(printed, &again) && again == n_bytes);
}

/* The input: how many overrides, these, each up to a newline, and then the file. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct input in = {.bytes = bytes, .n_left = n_bytes};
    char texts[N_OVERRIDES][OVERRIDE_BYTES] = {{0}}, path[32], error[CONFIG_ERROR_BYTES];
    const char *overrides[N_OVERRIDES];
    struct config_source source = {.file = path, .overrides = overrides};
    struct server_settings settings, before;

    source.n_overrides = input_byte(&in) % (N_OVERRIDES + 1);
    for (size_t i = 0; i < source.n_overrides; i++) {
        overrides[i] = texts[i];
        for (size_t at = 0; at + 1 < OVERRIDE_BYTES && in.n_left > 0; at++) {
            texts[i][at] = (char)input_byte(&in);
            if (texts[i][at] == '\n') {
                texts[i][at] = '\0';
                break;
            }
        }
        check_size(texts[i]);
    }
    int fd = memfd_create("config", MFD_CLOEXEC);
    check_or_trap(fd >= 0 && write(fd, in.bytes, in.n_left) == (ssize_t)in.n_left);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    memset(&settings, 0x5a, sizeof(settings));
    memset(&before, 0x5a, sizeof(before));
    memset(error, 0, sizeof(error));
    if (config_load(&source, &settings, error)) {
        check_settings(&settings);
    } else {
        check_or_trap(memcmp(&settings, &before, sizeof(settings)) == 0);
        check_or_trap(error[0] && memchr(error, '\0', sizeof(error)));
    }
    close(fd);
    return 0;
}
