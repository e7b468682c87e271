/* Configuration: sizes, every kind of key, and what each mistake is called. */
#include "fixture.h"

#include <stdio.h>

#include "hakmemd/config.h"

static char file_path[64];
static char message[CONFIG_ERROR_BYTES];
static struct server_settings settings;

static const char *write_file(const char *text)
{
    snprintf(file_path, sizeof(file_path), "/tmp/hakmem-test-config-%d", (int)getpid());
    FILE *file = fopen(file_path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return file_path;
}

static bool load_file(const char *text)
{
    struct config_source source = {.file = write_file(text)};
    bool ok = config_load(&source, &settings, message);
    unlink(file_path);
    return ok;
}

static bool load_option(const char *option)
{
    struct config_source source = {
        .file = "/dev/null", .overrides = (const char *[]){option}, .n_overrides = 1};
    return config_load(&source, &settings, message);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t n_bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"4096", 4096},
        {"1K", 1024},
        {"3m", 3 * MIB},
        {"64M", 64 * MIB},
        {"64MiB", 64 * MIB},
        {"64MB", 64 * MIB},
        {"2G", 2048 * MIB},
        {"1T", MIB * MIB},
        {"16777215T", 16777215 * (MIB * MIB)},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",          "-1",
                                      "+1",        " 1",
                                      "1 M",       "M",
                                      "1X",        "1MM",
                                      "1.5G",      "0x10",
                                      "1iB",       "1Mi2",
                                      "1B2",       "18446744073709551616",
                                      "16777216T", "99999999999999999999K"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t n_bytes = 1234567;
        if (!config_parse_size(good[i].text, &n_bytes))
            fail_msg("\"%s\" was refused", good[i].text);
        assert_int_equal(n_bytes, good[i].n_bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t n_bytes = 1234567;
        if (config_parse_size(bad[i], &n_bytes))
            fail_msg("\"%s\" was taken for %llu", bad[i], (unsigned long long)n_bytes);
        assert_int_equal(n_bytes, 1234567);
    }
}

static void test_all_keys(void **state)
{
    (void)state;
    assert_true(load_file("; a comment\n"
                          "[socket]\npath = /tmp/x.sock\nmode = 0600\n"
                          "[pool]\nmin = 8M\nmax=1G\nbacking = hugetlb\nrecycled_ms = 5\n"
                          "[reclaim]\nidle_ms = 77\nreuse = never\n"
                          "[quota]\nbytes_per_user = 3G\nbytes_per_client = 2G\n"
                          "clients_per_user = 12\nrequests_per_second = 9\n"
                          "descriptors_per_user = 77\nrequests_per_user = 99\n"
                          "[user:0]\nbytes_per_client = 4M\n"
                          "[user:daemon]\nclients_per_user = 1\n"
                          "[peer]\nunread_timeout_ms = 20\n"
                          "[pressure]\nenabled = no\nsome_us = 100\nquiet_ms = 10\n"
                          "[log]\nlevel = debug\n"));
    assert_string_equal(settings.socket_path, "/tmp/x.sock");
    assert_int_equal(settings.socket_mode, 0600);
    assert_int_equal(settings.pool.min_bytes, 8 * MIB);
    assert_int_equal(settings.pool.max_bytes, 1024 * MIB);
    assert_int_equal(settings.pool.backing, BACKING_HUGETLB);
    assert_int_equal(settings.pool.recycled_ms, 5);
    assert_int_equal(settings.idle_ms, 77);
    assert_int_equal(settings.reuse, REUSE_NEVER);
    assert_int_equal(settings.quota.defaults.bytes_per_user, 3 * 1024 * MIB);
    assert_int_equal(settings.quota.defaults.bytes_per_client, 2 * 1024 * MIB);
    assert_int_equal(settings.quota.defaults.clients_per_user, 12);
    assert_int_equal(settings.quota.defaults.requests_per_second, 9);
    assert_int_equal(settings.quota.defaults.descriptors_per_user, 77);
    assert_int_equal(settings.quota.defaults.requests_per_user, 99);
    assert_int_equal(settings.peer.unread_timeout_ms, 20);
    assert_false(settings.pressure.enabled);
    assert_int_equal(settings.pressure.some_us, 100);
    assert_int_equal(settings.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(settings.quota.n_overrides, 2);
    assert_int_equal(settings.quota.overrides[0].uid, 0);
    assert_int_equal(settings.quota.overrides[0].limits.bytes_per_client, 4 * MIB);
    assert_true(settings.quota.overrides[0].limits.bytes_per_user == QUOTA_LIMIT_UNSET);
    assert_int_equal(settings.quota.overrides[1].limits.clients_per_user, 1);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_true(load_file(""));
    assert_string_equal(settings.socket_path, SERVER_DEFAULT_SOCKET);
    assert_true(settings.pool.min_bytes > 0 && settings.pool.min_bytes <= settings.pool.max_bytes);
    assert_true(settings.quota.defaults.bytes_per_user > 0);
}

/* A mistake, and what must stand in its message besides the file. */
static void test_mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } mistakes[] = {
        {"[pool]\nmin = lots\n", ":2: pool.min = lots: not a size"},
        {"[pool]\n\n\nmim = 1M\n", ":4: unknown key \"mim\" in [pool]"},
        {"[swimming]\npool = 1\n", ":2: unknown key \"pool\" in [swimming]"},
        {"min = 1M\n", ":1: \"min\" stands before any [section]"},
        {"[pool]\nmin = 1M\nnonsense\n", ":3: neither a [section] nor key = value"},
        {"[pool\nmin = 1M\n", ":1: "},
        {"[pool]\nbacking = gold\n", ":2: pool.backing = gold: not one of: auto, thp, 4k, hugetlb"},
        {"[reclaim]\nidle_ms = -5\n", ":2: reclaim.idle_ms = -5: not a number from 0 to"},
        {"[socket]\nmode = 999\n", ":2: socket.mode = 999: not an octal file mode"},
        {"[socket]\npath =\n", ":2: socket.path: a path of 1 to 107"},
        {"[pressure]\nenabled = perhaps\n", ":2: pressure.enabled = perhaps: yes or no"},
        {"[quota]\nrequests_per_second = 0\n", ":2: quota.requests_per_second = 0: not a number"},
        {"[user:no-such-user-here]\nbytes_per_user = 1M\n",
         ":2: [user:no-such-user-here]: no such"},
        {"[user:0]\nbytes = 1M\n", ":2: [user:0]: unknown key \"bytes\""},
        {"[user:0]\nbytes_per_user = x\n", ":2: [user:0] bytes_per_user = x: not a size"},
        {"[user:0]\nrequests_per_user = 0\n", ":2: [user:0] requests_per_user = 0: not a number"},
        {"[quota]\nbytes_per_user = 18446744073709551615\n", ": not a number from 0"},
        {"[quota]\nbytes_per_planet = 1\n", ":2: unknown key \"bytes_per_planet\" in [quota]"},
        {"[pool]\nmin = 2G\nmax = 1G\n", "pool.min is more than pool.max"},
        {"[quota]\nbytes_per_client = 1M\n", "less than a SuperSlab"},
    };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        memset(&settings, 0x77, sizeof(settings));
        if (load_file(mistakes[i].text))
            fail_msg("taken: %s", mistakes[i].text);
        if (!strstr(message, mistakes[i].says))
            fail_msg("\"%s\" does not say \"%s\"", message, mistakes[i].says);
        /* Untouched on failure. */
        assert_int_equal(settings.socket_mode, 0x77777777);
    }
}

static void test_first_mistake_wins(void **state)
{
    (void)state;
    assert_false(load_file("[pool]\nmin = x\nmax = y\n"));
    assert_non_null(strstr(message, ":2: pool.min"));
}

static void test_files(void **state)
{
    (void)state;
    struct config_source source = {.file = "/no/such/file"};
    assert_false(config_load(&source, &settings, message));
    assert_non_null(strstr(message, "/no/such/file: No such file"));
    source.file = "/tmp";
    assert_false(config_load(&source, &settings, message));
    source.file = NULL; /* the default one need not be there */
    assert_true(config_load(&source, &settings, message));
}

static void test_options(void **state)
{
    (void)state;
    static const char *const bad[] = {"pool.min",  "pool=1",     "=1",
                                      ".min=1",    "pool.=1",    "",
                                      "pool.min=", "nope.min=1", "pool.min=1=2"};
    assert_true(load_option("pool.min=2M"));
    assert_int_equal(settings.pool.min_bytes, 2 * MIB);
    assert_true(load_option("user:0.bytes_per_user=2M"));
    assert_int_equal(settings.quota.overrides[0].limits.bytes_per_user, 2 * MIB);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (load_option(bad[i]))
            fail_msg("taken: -o \"%s\"", bad[i]);
        assert_non_null(strstr(message, "-o: "));
    }
    struct config_source source = {.file = "/dev/null", .socket = "/tmp/y"};
    assert_true(config_load(&source, &settings, message));
    assert_string_equal(settings.socket_path, "/tmp/y");
}

static void test_long_lines(void **state)
{
    (void)state;
    static char text[4096];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "[pool]\nmin = ", 13);
    assert_false(load_file(text));
    assert_true(strlen(message) < CONFIG_ERROR_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_first_mistake_wins),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
