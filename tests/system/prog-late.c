/*
 * Allocates before main and after it: in constructors, in exit handlers, in destructors, with stdio
 * at work, and frees there what main allocated. Prints "constructed", "main", "exit handler",
 * "destructed"; aborts if a block has changed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *early, *of_main;

static char *make(char tag)
{
    char *p = malloc(5000);
    if (!p)
        abort();
    memset(p, tag, 5000);
    return p;
}

static void check_and_free(char *p, char tag)
{
    for (int i = 0; i < 5000; i++)
        if (p[i] != tag)
            abort();
    free(p);
}

__attribute__((constructor(101))) static void construct(void)
{
    early = make('e');
    check_and_free(make('x'), 'x');
    puts("constructed");
}

__attribute__((destructor(101))) static void destruct(void)
{
    check_and_free(early, 'e');
    check_and_free(make('y'), 'y');
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i * 1000));
    (void)!write(1, "destructed\n", 11);
}

static void at_exit(void)
{
    check_and_free(of_main, 'm');
    check_and_free(make('z'), 'z');
    puts("exit handler");
    fflush(stdout);
}

int main(void)
{
    static char buffer[100];
    atexit(at_exit);
    of_main = make('m');
    check_and_free(early, 'e');
    early = make('e');
    puts("main");
    fflush(stdout);
    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    return 0;
}
