/*
 * Intrusive doubly linked circular lists. A head and a link are the same type; an unlinked link
 * points to itself. A field of this type names in a comment the list it is on.
 */
#ifndef HAKMEM_COMMON_LIST_H
#define HAKMEM_COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

#define LIST_INIT(name)                                                                            \
    {                                                                                              \
        .prev = &(name), .next = &(name)                                                           \
    }
#define list_entry(l, type, member) ((type *)((char *)(l)-offsetof(type, member)))
#define list_for_each(it, head)     for (struct list *it = (head)->next; it != (head); it = it->next)
/* The body may unlink `it`. */
#define list_for_each_safe(it, head)                                                               \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_add_after(struct list *at, struct list *l)
{
    l->prev = at;
    l->next = at->next;
    at->next->prev = l;
    at->next = l;
}

static inline void list_push_front(struct list *head, struct list *l)
{
    list_add_after(head, l);
}

static inline void list_push_back(struct list *head, struct list *l)
{
    list_add_after(head->prev, l);
}

/* Unlinking an unlinked, initialised link does nothing. */
static inline void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

static inline struct list *list_first(struct list *head)
{
    return list_is_empty(head) ? NULL : head->next;
}

#endif
