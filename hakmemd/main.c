/*
 * hakmemd: the command line, and the life of the process. A SuperSlab's life begins in pool.c.
 */
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "hakmemd/config.h"
#include "hakmemd/log.h"
#include "hakmemd/server.h"

#define EXIT_USAGE 2

static const char usage_text[] =
    "Usage: hakmemd [--config FILE] [--socket PATH] [-o section.key=value]... [--check-config]\n"
    "\n"
    "Keeps a stock of ready memory and leases it to programs over a Unix socket.\n"
    "\n"
    "  -c, --config FILE          read FILE instead of " CONFIG_DEFAULT_FILE "\n"
    "  -s, --socket PATH          listen on PATH instead of " SERVER_DEFAULT_SOCKET "\n"
    "  -o, --option SECTION.KEY=VALUE\n"
    "                             set one key, over what the file says; may be repeated\n"
    "  -t, --check-config         say whether the configuration is right, and exit\n"
    "  -V, --version              print the version, and exit\n"
    "  -h, --help                 print this, and exit\n";

enum action { ACTION_RUN, ACTION_CHECK, ACTION_EXIT };

static enum action parse_arguments(int argc, char **argv, struct config_source *source)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"socket", required_argument, NULL, 's'},
        {"option", required_argument, NULL, 'o'},
        {"check-config", no_argument, NULL, 't'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    enum action action = ACTION_RUN;
    int option;
    while ((option = getopt_long(argc, argv, "c:s:o:tVh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            source->file = optarg;
            break;
        case 's':
            source->socket = optarg;
            break;
        case 'o':
            source->overrides[source->n_overrides++] = optarg;
            break;
        case 't':
            action = ACTION_CHECK;
            break;
        case 'V':
            puts("hakmemd " HAKMEM_VERSION);
            return ACTION_EXIT;
        case 'h':
            fputs(usage_text, stdout);
            return ACTION_EXIT;
        default:
            fputs(usage_text, stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "hakmemd: unexpected argument \"%s\"\n%s", argv[optind], usage_text);
        exit(EXIT_USAGE);
    }
    return action;
}

/*
 * The loop must not wait for the address space lock, which a worker may hold for long: so the heap
 * is to grow in large steps and never to be given back, and to be one for all threads.
 */
static void calm_malloc(void)
{
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
    mallopt(M_ARENA_MAX, 1);
}

static bool load(const struct config_source *source, struct server_settings *settings_out)
{
    char error[CONFIG_ERROR_BYTES];
    if (config_load(source, settings_out, error))
        return true;
    log_error(NULL, "%s", error);
    return false;
}

static bool reload(void *data, struct server_settings *settings_out)
{
    return load(data, settings_out);
}

int main(int argc, char **argv)
{
    static struct server_settings settings;
    struct server *server;
    /* No more options than arguments. */
    struct config_source source = {.overrides = calloc((size_t)argc + 1, sizeof(char *))};
    int result = EXIT_FAILURE;

    calm_malloc();
    log_init();
    if (!source.overrides)
        return EXIT_FAILURE;
    enum action action = parse_arguments(argc, argv, &source);
    if (action == ACTION_EXIT) {
        result = EXIT_SUCCESS;
    } else if (load(&source, &settings)) {
        if (action == ACTION_CHECK) {
            puts("the configuration is right");
            result = EXIT_SUCCESS;
        } else if (server_new(&settings, reload, &source, &server) == 0) {
            result = server_run(server) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
            server_free(server);
        }
    }
    free(source.overrides);
    return result;
}
