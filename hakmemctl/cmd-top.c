/*
 * hakmemctl top: the clients, refreshed every second, the greatest leaseholder first; q quits.
 * Where stdout is no terminal, the table is printed once.
 */
#include <errno.h>
#include <inttypes.h>
#include <ncurses.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/clients-table.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

#define REFRESH_MS 1000

/* What one refresh shows; texts, because a reply lives only until the session's next use. */
struct view {
    char summary[256];
    struct table *table;
    size_t n_hidden;
};

static void summarise(const Hakmem__StatsReply *stats, char *text, size_t n_bytes)
{
    char leased[OUTPUT_CELL_BYTES], active[OUTPUT_CELL_BYTES], idle[OUTPUT_CELL_BYTES];
    char stock[OUTPUT_CELL_BYTES], share[OUTPUT_CELL_BYTES], orphans[OUTPUT_CELL_BYTES];
    snprintf(text, n_bytes,
             "clients %" PRIu64 "   leased %s (active %s, idle %s)   stock %s (2 MiB pages %s)   "
             "orphans %s   denied %" PRIu64,
             stats->clients, output_size(stats->leased_bytes, leased),
             output_size(stats->active_bytes, active), output_size(stats->idle_bytes, idle),
             output_size(stats->stock_bytes, stock),
             output_share(stats->stock_huge_bytes, stats->stock_bytes, share),
             output_size(stats->orphan_bytes, orphans), stats->denied_total);
}

/* Fills the view anew. 0 or a negative errno. */
static int view_fetch(struct session *session, struct view *view)
{
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    Hakmem__Reply *reply;
    int r = session_ask(session, &request, &reply);
    if (r < 0)
        return r;
    if (reply->body_case != HAKMEM__REPLY__BODY_STATS)
        return -EPROTO;
    summarise(reply->stats, view->summary, sizeof(view->summary));

    Hakmem__ClientsReply *clients;
    r = clients_fetch(session, &clients);
    if (r < 0)
        return r;
    struct table *table = clients_table_new(clients);
    if (!table)
        return -ENOMEM;
    table_free(view->table);
    view->table = table;
    view->n_hidden = clients->total > clients->n_clients ? clients->total - clients->n_clients : 0;
    return 0;
}

static void view_draw(const struct view *view)
{
    char line[1024];
    erase();
    mvaddnstr(0, 0, view->summary, COLS);
    attron(A_REVERSE);
    table_line(view->table, -1, line, sizeof(line));
    mvhline(2, 0, ' ', COLS);
    mvaddnstr(2, 0, line, COLS);
    attroff(A_REVERSE);
    long n_rows = (long)table_n_rows(view->table);
    for (long row = 0; row < n_rows && row + 4 < LINES; row++) {
        table_line(view->table, row, line, sizeof(line));
        mvaddnstr(3 + (int)row, 0, line, COLS);
    }
    mvaddnstr(LINES - 1, 0, "q quit", COLS);
    refresh();
}

/* True when the user wants out. Waits for a key or for the next refresh. */
static bool wants_to_quit(void)
{
    int key = getch();
    return key == 'q' || key == 'Q';
}

static int print_once(struct session *session, struct view *view)
{
    int r = view_fetch(session, view);
    if (r < 0)
        return r;
    puts(view->summary);
    putchar('\n');
    table_print(view->table);
    if (view->n_hidden > 0)
        printf("… and %zu more\n", view->n_hidden);
    return output_flush() ? 0 : -EIO;
}

static int watch(struct session *session, struct view *view)
{
    /* Not initscr(), which exits where the terminal is unknown. */
    SCREEN *screen = newterm(NULL, stdout, stdin);
    if (!screen)
        return print_once(session, view);
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    timeout(REFRESH_MS);
    int r;
    do {
        r = view_fetch(session, view);
        if (r == 0)
            view_draw(view);
    } while (r == 0 && !wants_to_quit());
    endwin();
    delscreen(screen);
    return r;
}

int cmd_top(const struct invocation *invocation)
{
    if (invocation->json)
        return cmd_clients(invocation);
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    struct view view = {.table = NULL};
    int r = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) ? watch(session, &view)
                                                          : print_once(session, &view);
    table_free(view.table);
    session_close(session);
    if (r == 0)
        return CTL_OK;
    fprintf(stderr, "hakmemctl: top: %s\n",
            r == -ECONNRESET ? "hakmemd closed the connection" : strerror(-r));
    return r == -ECONNRESET ? CTL_NOT_RUNNING : CTL_FAILED;
}
