/* expect: double free in: normal guards check */
/* The C library's own allocation. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *line = NULL;
    size_t n = 0;
    FILE *file = fopen("/proc/self/status", "r");
    getline(&line, &n, file);
    fclose(file);
    free(line);
    free(line);
    return 0;
}
