/* expect: use after free in: check */
/* A list is freed by each node's own link. */
#include <stdlib.h>

struct node {
    struct node *next;
    char bytes[40];
};

int main(void)
{
    struct node *head = NULL;
    for (int i = 0; i < 5; i++) {
        struct node *node = malloc(sizeof(*node));
        node->next = head;
        head = node;
    }
    for (struct node *n = head; n; n = n->next)
        free(n);
    return 0;
}
