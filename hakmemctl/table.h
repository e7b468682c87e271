/*
 * Rows and columns, aligned. Filled first, then rendered line by line, to stdout or to a screen.
 */
#ifndef HAKMEM_CTL_TABLE_H
#define HAKMEM_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct table_column {
    const char *title;
    bool right; /* numbers stand to the right */
};

struct table;

/* `columns` is borrowed for the table's life. NULL out of memory. */
struct table *table_new(const struct table_column *columns, size_t n_columns);
void table_free(struct table *table);

/* Appends a row of n_columns texts, which are copied. False out of memory: the row is not there. */
bool table_add(struct table *table, const char *const *cells);

/* Rows without the title line. */
size_t table_n_rows(const struct table *table);

/* Renders row `row`, or with row == -1 the titles, into `line`, cut at its size; no newline, no
 * trailing blanks. */
void table_line(const struct table *table, long row, char *line, size_t n_bytes);

/* Prints titles and all rows on stdout. */
void table_print(const struct table *table);

#endif
