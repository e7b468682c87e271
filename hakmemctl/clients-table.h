/*
 * The daemon's clients as rows of a table, the greatest leaseholder first. Shared by `clients` and
 * `top`.
 */
#ifndef HAKMEM_CTL_CLIENTS_TABLE_H
#define HAKMEM_CTL_CLIENTS_TABLE_H

#include "hakmemctl/session.h"
#include "hakmemctl/table.h"

/* Asks and sorts; `reply` is valid until the session's next use. 0 or a negative errno; -EPROTO:
 * another reply came. */
int clients_fetch(struct session *session, Hakmem__ClientsReply **clients_out);

/* Sorts the reply's list in place by leased bytes, then by pid. */
void clients_sort(Hakmem__ClientsReply *clients);

/* A table of the list, to be freed by the caller; NULL out of memory. */
struct table *clients_table_new(const Hakmem__ClientsReply *clients);

#endif
