/*
 * hakmemctl: shows and steers hakmemd.
 *
 * One command is one row of the table below and one file cmd-*.c. This file parses the command line
 * and chooses.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hakmemctl/command.h"

#define DEFAULT_SOCKET "/run/hakmem/hakmemd.sock"

static const struct command commands[] = {
    {"stats", cmd_stats, 0, 0, 0, "stats", "what the daemon holds and has done"},
    {"clients", cmd_clients, 0, 1, 0, "clients [PID]", "who holds how much; one in detail"},
    {"pool", cmd_pool, 0, 0, 0, "pool", "the stock and what its pages are made of"},
    {"top", cmd_top, 0, 0, 0, "top", "the clients, refreshed; q quits"},
    {"ping", cmd_ping, 0, 0, 0, "ping", "is the daemon there, and how quick"},
    {"trim", cmd_trim, 0, 0, 0, "trim", "give stock and idle memory back to the host"},
    {"prewarm", cmd_prewarm, 1, 1, 0, "prewarm SIZE", "have SIZE in stock"},
    {"drain", cmd_drain, 0, 0, OPTION_RESUME, "drain [--resume]", "stop leasing; or begin again"},
    {"quota", cmd_quota, 2, 2, OPTION_UID, "quota KEY VALUE [--uid UID]",
     "change a quota of the running daemon"},
    {"doctor", cmd_doctor, 0, 0, 0, "doctor", "what is wrong here, why, and the cure"},
    {"run", cmd_run, 1, -1, OPTION_DAEMON, "run [-o KEY=VALUE]... [--] COMMAND [ARGUMENT]...",
     "run COMMAND on hakmem, with a daemon of its own if there is none"},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct option long_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"resume", no_argument, NULL, 'r'},
    {"uid", required_argument, NULL, 'u'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    puts("usage: hakmemctl [--socket PATH] [--json] COMMAND\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strlen(commands[i].synopsis) > 28)
            printf("  %s\n  %-28s %s\n", commands[i].synopsis, "", commands[i].help);
        else
            printf("  %-28s %s\n", commands[i].synopsis, commands[i].help);
    }
    puts("\nThe socket: --socket, else $HAKMEM_SOCKET, else " DEFAULT_SOCKET ".\n"
         "Exit status: 0 ok, 1 failed, 2 usage, 3 hakmemd is not running, 4 denied; of run: the\n"
         "command's, 126 and 127 if it cannot be started, 128+N if signal N ended it.");
}

static int usage_error(const char *what, const char *which)
{
    fprintf(stderr, "hakmemctl: %s%s\nTry: hakmemctl --help\n", what, which);
    return CTL_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static bool parse_uid(const char *text, uint32_t *uid)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    /* The greatest value means "no user" to the kernel. */
    if (errno || end == text || *end || text[0] == '-' || value >= UINT32_MAX)
        return false;
    *uid = (uint32_t)value;
    return true;
}

/*
 * Options from argv[optind] on. Before the command word `command` is NULL, and the first word that
 * is no option ends the parsing; the same holds after a command that runs another. 0 to go on, else
 * an exit code plus one.
 */
static int parse_options(int argc, char **argv, const struct command *command,
                         struct invocation *invocation)
{
    const char *short_options = !command || command->max_arguments < 0 ? "+o:h" : "o:h";
    unsigned seen = 0;
    int option;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            invocation->socket_path = optarg;
            break;
        case 'j':
            invocation->json = true;
            break;
        case 'r':
            seen |= OPTION_RESUME;
            invocation->resume = true;
            break;
        case 'u':
            seen |= OPTION_UID;
            invocation->one_user = true;
            if (!parse_uid(optarg, &invocation->uid))
                return 1 + usage_error("not a user id: ", optarg);
            break;
        case 'o':
            seen |= OPTION_DAEMON;
            if (invocation->n_daemon_options == CTL_MAX_DAEMON_OPTIONS)
                return 1 + usage_error("too many options: -o ", optarg);
            invocation->daemon_options[invocation->n_daemon_options++] = optarg;
            break;
        case 'h':
            print_help();
            return 1 + CTL_OK;
        case 'V':
            puts("hakmemctl " HAKMEM_VERSION);
            return 1 + CTL_OK;
        default:
            fputs("Try: hakmemctl --help\n", stderr);
            return 1 + CTL_USAGE;
        }
    }
    if ((seen & ~(command ? command->options : 0)) != 0)
        return 1 + usage_error(command ? "this option is not for " : "this option comes after its ",
                               command ? command->name : "command");
    return 0;
}

int main(int argc, char **argv)
{
    const char *from_environment = getenv("HAKMEM_SOCKET");
    struct invocation invocation = {
        .socket_path = from_environment && from_environment[0] ? from_environment : DEFAULT_SOCKET,
    };
    int r = parse_options(argc, argv, NULL, &invocation);
    if (r != 0)
        return r - 1;
    if (optind == argc)
        return usage_error("a command is missing", "");
    const struct command *command = find_command(argv[optind]);
    if (!command)
        return usage_error("no such command: ", argv[optind]);

    /* getopt anew for the words after the command; the command's own word stands for the program's
     * name. */
    argc -= optind;
    argv += optind;
    optind = 0;
    r = parse_options(argc, argv, command, &invocation);
    if (r != 0)
        return r - 1;
    invocation.arguments = argv + optind;
    invocation.n_arguments = argc - optind;
    if (invocation.n_arguments < command->min_arguments)
        return usage_error("too few arguments: ", command->synopsis);
    if (command->max_arguments >= 0 && invocation.n_arguments > command->max_arguments)
        return usage_error("too many arguments: ", command->synopsis);
    return command->run(&invocation);
}
