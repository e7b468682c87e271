/*
 * The library loses its connection while the daemon lives on and does not notice: a child that was
 * made behind the library's back holds a copy of the socket. What the program then does with memory
 * that it once gave back must not be undone by a daemon that still believes it idle.
 *
 *   prog-lost-link SECONDS
 *
 * Rounds of allocating, checking and freeing, over SECONDS, after the loss. Exit 0, or 1 and
 * "corruption".
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { N = 400, EACH = 100000 };

static unsigned char *blocks[N];

static void fill(unsigned tag)
{
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = malloc(EACH);
        if (!blocks[i])
            abort();
        memset(blocks[i], (int)(tag ^ i) | 1, EACH);
    }
}

static void check(unsigned tag)
{
    for (unsigned i = 0; i < N; i++)
        for (unsigned j = 0; j < EACH; j++)
            if (blocks[i][j] != (unsigned char)((tag ^ i) | 1)) {
                printf("corruption: byte %u of block %u is %u\n", j, i, blocks[i][j]);
                fflush(stdout);
                kill(0, SIGKILL);
            }
}

static void drop(void)
{
    for (unsigned i = 0; i < N; i++)
        free(blocks[i]);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    setpgid(0, 0);
    time_t end = time(NULL) + atoi(argv[1]);
    /* Leased, and idle in the daemon's eyes. */
    fill(1);
    check(1);
    drop();
    pid_t holder = (pid_t)syscall(SYS_fork);
    if (holder == 0)
        for (;;)
            pause();
    closefrom(3);
    struct timespec pause_a_while = {.tv_nsec = 50000000};
    /* Now the library wants more than it has, and finds its connection gone, with memory idle. */
    void *more[8];
    for (unsigned i = 0; i < 8; i++)
        more[i] = malloc(30 << 20);
    for (unsigned tag = 2; time(NULL) < end; tag++) {
        fill(tag);
        for (unsigned i = 0; i < 10; i++) {
            nanosleep(&pause_a_while, NULL);
            check(tag);
        }
        drop();
    }
    for (unsigned i = 0; i < 8; i++)
        free(more[i]);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    puts("ok");
    return 0;
}
