/* expect: double free in: normal guards check */
/* A list with a ring in it is freed node by node. */
#include <stdlib.h>

struct node {
    struct node *next;
    char bytes[40];
};

int main(void)
{
    struct node nodes = {0}, *head = NULL;
    for (int i = 0; i < 5; i++) {
        struct node *node = malloc(sizeof(*node));
        *node = (struct node){.next = head};
        head = node;
    }
    struct node *n[3] = {head, head->next, head};
    for (int i = 0; i < 3; i++)
        free(n[i]);
    return 0;
}
