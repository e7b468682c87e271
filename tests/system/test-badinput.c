/*
 * What an administrator gets wrong is answered clearly: which file, which line, what is wrong with
 * it; and the exit codes tell wrong usage from failure.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define EXIT_USAGE 2

static int setup(void **state)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    daemon_init(daemon);
    *state = daemon;
    return 0;
}

static int teardown(void **state)
{
    daemon_deinit(*state);
    free(*state);
    return 0;
}

/* Runs hakmemd with these arguments alone, which must end by itself; its exit code. What it said is
 * daemon_log()'s. */
static int run(struct daemon *daemon, const char *const *arguments)
{
    unlink(daemon->log_path);
    daemon->pid = harness_fork();
    if (daemon->pid == 0) {
        const char *argv[16] = {harness_artifact("hakmemd")};
        for (size_t i = 0; arguments[i] && i < 14; i++)
            argv[i + 1] = arguments[i];
        int log = open(daemon->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        dup2(log, 1);
        dup2(log, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    int status = daemon_wait_exit(daemon);
    if (!WIFEXITED(status)) {
        fprintf(stderr, "status %#x: %s\n", status, daemon_log(daemon));
        harness_fail(__FILE__, __LINE__, "an exit");
    }
    return WEXITSTATUS(status);
}

static void require_said(const struct daemon *daemon, const char *text)
{
    if (strstr(daemon_log(daemon), text))
        return;
    fprintf(stderr, "\"%s\" is not in: %s\n", text, daemon_log(daemon));
    harness_fail(__FILE__, __LINE__, "a clear message");
}

static int check_config(struct daemon *daemon, const char *text)
{
    const char *const arguments[] = {"--config", daemon->config_path, "--check-config", NULL};
    daemon_write_config(daemon, text);
    return run(daemon, arguments);
}

static void test_configuration_lines(void **state)
{
    struct daemon *daemon = *state;
    static const struct {
        const char *text;
        unsigned line;
        const char *said;
    } wrong[] = {
        {"[pool]\nmin = twelve\n", 2, "twelve"},
        {"[pool]\n\n\nmin = 12X\n", 4, "12X"},
        {"[pool]\nmin = -5\n", 2, "-5"},
        {"[pool]\nmin =\n", 2, "pool.min"},
        {"[pool]\nmin = 99999999999999999999\n", 2, "99999999999999999999"},
        {"[pool]\nmin = 18446744073709551615G\n", 2, "18446744073709551615G"},
        {"[pool]\nmin = 1M garbage\n", 2, "garbage"},
        {"[pool]\nbacking = granite\n", 2, "granite"},
        {"[pool]\nmim = 8M\n", 2, "mim"},
        {"[pond]\nmin = 8M\n", 2, "pond"},
        {"min = 8M\n", 1, "min"},
        {"[reclaim]\nreuse = sometimes\n", 2, "sometimes"},
        {"[reclaim]\nidle_ms = soon\n", 2, "soon"},
        {"[socket]\nmode = 9999\n", 2, "9999"},
        {"[socket]\nmode = rw\n", 2, "rw"},
        {"[pool]\nthis is not an assignment\n", 2, ""},
        {"[pool\nmin = 8M\n", 1, ""},
        {"[quota]\nclients_per_user = many\n", 2, "many"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char place[128];
        fprintf(stderr, "%s", wrong[i].text);
        require_equal(check_config(daemon, wrong[i].text), 1);
        fprintf(stderr, "  -> %s", daemon_log(daemon));
        snprintf(place, sizeof(place), "%s:%u:", daemon->config_path, wrong[i].line);
        require_said(daemon, place);
        require_said(daemon, wrong[i].said);
        /* And it does not start with it, either. */
        const char *const arguments[] = {"--config", daemon->config_path, "--socket",
                                         daemon->socket_path, NULL};
        require_equal(run(daemon, arguments), 1);
        require_said(daemon, place);
    }
}

static void test_good_configurations(void **state)
{
    struct daemon *daemon = *state;
    static const char *const good[] = {
        "",
        "# a comment\n; another\n\n",
        "[socket]\npath = /tmp/nowhere/hakmemd.sock\nmode = 0660\n",
        "[pool]\nmin = 0\nmax = 1G\nbacking = auto\n",
        "[pool]\nmin=4096K\nmax=64M\nbacking=4k\n[reclaim]\nidle_ms=500\nreuse=never\n",
        "[quota]\nbytes_per_user = 2G\nbytes_per_client = 512M\nclients_per_user = 100\n",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int code = check_config(daemon, good[i]);
        if (code != 0)
            fprintf(stderr, "%s-> %s", good[i], daemon_log(daemon));
        require_equal(code, 0);
    }
}

/* Values that are each right and make no sense together. */
static void test_contradictions(void **state)
{
    struct daemon *daemon = *state;
    require_equal(check_config(daemon, "[pool]\nmin = 64M\nmax = 8M\n"), 1);
    require_said(daemon, "pool.m");
}

static void test_missing_file(void **state)
{
    struct daemon *daemon = *state;
    const char *const missing[] = {"--config", "/nonexistent/hakmemd.conf", "--check-config", NULL};
    require_equal(run(daemon, missing), 1);
    require_said(daemon, "/nonexistent/hakmemd.conf");
    require_said(daemon, "No such file");
    const char *const folder[] = {"--config", "/tmp", "--check-config", NULL};
    require_equal(run(daemon, folder), 1);
    require_said(daemon, "/tmp");
}

/* Runs it; it must end with this code and name `said`. */
static void require_refused(struct daemon *daemon, const char *const *arguments, int code,
                            const char *said)
{
    int actual = run(daemon, arguments);
    fprintf(stderr, "%s %s -> %d %s", arguments[0], arguments[1] ? arguments[1] : "", actual,
            daemon_log(daemon));
    require_equal(actual, code);
    require_said(daemon, said);
}

static void test_command_line(void **state)
{
    struct daemon *daemon = *state;
    /* A command line that cannot be read. */
    const char *const unreadable[][3] = {
        {"--no-such-option", NULL}, {"-x", NULL}, {"--config", NULL},
        {"--socket", NULL},         {"-o", NULL}, {"stray", NULL},
    };
    for (size_t i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++) {
        const char *name = unreadable[i][0];
        require_refused(daemon, unreadable[i], EXIT_USAGE, name + strspn(name, "-"));
        require_said(daemon, "Usage:");
    }
    /* One that can, and sets what cannot be: a mistake in the configuration. */
    const char *const wrong[][3] = {
        {"-o", "pool.min", NULL}, {"-o", "=8M", NULL},     {"-o", "nodot=8M", NULL},
        {"-o", "pool.=8M", NULL}, {"-o", ".min=8M", NULL},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        require_refused(daemon, wrong[i], 1, wrong[i][1]);
    const char *const key[] = {"-o", "pool.mim=8M", NULL};
    require_refused(daemon, key, 1, "mim");
    const char *const value[] = {"-o", "pool.min=twelve", NULL};
    require_refused(daemon, value, 1, "twelve");

    const char *const help[] = {"--help", NULL};
    require_equal(run(daemon, help), 0);
    require_said(daemon, "--check-config");
    const char *const version[] = {"--version", NULL};
    require_equal(run(daemon, version), 0);
    require_said(daemon, "hakmemd " HAKMEM_VERSION);
}

static void test_impossible_sockets(void **state)
{
    struct daemon *daemon = *state;
    char longer[256];
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[sizeof(longer) - 1] = 0;
    const char *const paths[] = {"/nonexistent/folder/hakmemd.sock", longer, "/tmp"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *const arguments[] = {"--config", daemon->config_path, "--socket", paths[i],
                                         NULL};
        require_equal(run(daemon, arguments), 1);
        require_said(daemon, paths[i] == longer ? "--socket" : paths[i]);
    }
}

/* With so few that it could serve nobody it does not start, and says what to do. */
static void test_too_few_descriptors(void **state)
{
    struct daemon *daemon = *state;
    const unsigned limits[] = {12, 64};
    for (size_t i = 0; i < 2; i++) {
        char figure[16];
        unlink(daemon->log_path);
        daemon->n_descriptors = limits[i];
        daemon_spawn(daemon, NULL);
        int status = daemon_wait_exit(daemon);
        require(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        snprintf(figure, sizeof(figure), "%u", limits[i]);
        require_said(daemon, figure);
        require_said(daemon, "LimitNOFILE");
    }
}

/* With just enough it serves until they are used up, refuses, and serves again. */
static void test_few_descriptors(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, more[128];
    struct lease held[128], leases[CONN_MAX_FDS];
    size_t n, n_held = 0, n_more = 0;
    Hakmem__ErrorCode code;

    daemon->n_descriptors = 128;
    daemon_configure(daemon, "pool.min=16M", "pool.max=512M", NULL);
    daemon_start(daemon);
    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), HAKMEM__ERROR_CODE__ERROR_NONE);
    while ((code = client_lease(&client, 1, 1, leases, &n)) == HAKMEM__ERROR_CODE__ERROR_NONE) {
        require(n_held < 128);
        held[n_held] = leases[0];
        lease_map(&client, &held[n_held++]);
    }
    /* The last ones are kept for users that hold few. */
    require_equal(code, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    require(n_held >= 8);
    /* Connections without end: turned away, or left waiting, while those that are in are served. */
    while (n_more < 128 && conn_connect(daemon->socket_path, &more[n_more].socket) == 0)
        n_more++;
    for (size_t i = 0; i < n_held; i++)
        lease_give_back(&client, &held[i]);
    for (size_t i = 0; i < n_more; i++)
        close(more[i].socket);
    uint64_t deadline = harness_deadline();
    while (client_lease(&client, 1, 1, leases, &n) != HAKMEM__ERROR_CODE__ERROR_NONE) {
        require(!harness_is_late(deadline));
        harness_pause();
    }
    lease_close(&leases[0]);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
    daemon_require_alive(daemon);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_configuration_lines), TEST(test_good_configurations),
        TEST(test_contradictions),      TEST(test_missing_file),
        TEST(test_command_line),        TEST(test_impossible_sockets),
        TEST(test_too_few_descriptors), TEST(test_few_descriptors),
    };
    return cmocka_run_group_tests_name("badinput", tests, NULL, NULL);
}
