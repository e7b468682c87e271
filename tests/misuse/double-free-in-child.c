/* expect: double free in: normal guards check */
/* Before a fork, and again in the child. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    int status;
    char *p = malloc(100);
    free(p);
    pid_t child = fork();
    if (child == 0) {
        free(p);
        exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    return 0;
}
