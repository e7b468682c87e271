/* See table.h. */
#include "hakmemctl/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_GAP 2

struct table {
    const struct table_column *columns;
    size_t n_columns;
    size_t *widths;
    char **cells; /* n_rows * n_columns, owned */
    size_t n_rows;
    size_t capacity_rows;
};

struct table *table_new(const struct table_column *columns, size_t n_columns)
{
    struct table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    table->columns = columns;
    table->n_columns = n_columns;
    table->widths = calloc(n_columns, sizeof(*table->widths));
    if (!table->widths) {
        free(table);
        return NULL;
    }
    for (size_t i = 0; i < n_columns; i++)
        table->widths[i] = strlen(columns[i].title);
    return table;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->n_rows * table->n_columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->widths);
    free(table);
}

static bool make_room(struct table *table)
{
    if (table->n_rows < table->capacity_rows)
        return true;
    size_t capacity = table->capacity_rows ? table->capacity_rows * 2 : 16;
    char **cells = reallocarray(table->cells, capacity * table->n_columns, sizeof(*cells));
    if (!cells)
        return false;
    table->cells = cells;
    table->capacity_rows = capacity;
    return true;
}

bool table_add(struct table *table, const char *const *cells)
{
    if (!make_room(table))
        return false;
    char **row = table->cells + table->n_rows * table->n_columns;
    for (size_t i = 0; i < table->n_columns; i++) {
        row[i] = strdup(cells[i]);
        if (!row[i]) {
            while (i-- > 0)
                free(row[i]);
            return false;
        }
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        size_t width = strlen(row[i]);
        if (width > table->widths[i])
            table->widths[i] = width;
    }
    table->n_rows++;
    return true;
}

size_t table_n_rows(const struct table *table)
{
    return table->n_rows;
}

void table_line(const struct table *table, long row, char *line, size_t n_bytes)
{
    size_t used = 0;
    line[0] = '\0';
    for (size_t i = 0; i < table->n_columns && used + 1 < n_bytes; i++) {
        const char *cell =
            row < 0 ? table->columns[i].title : table->cells[(size_t)row * table->n_columns + i];
        int width = (int)table->widths[i] * (table->columns[i].right ? 1 : -1);
        int n = snprintf(line + used, n_bytes - used, "%*s%*s", i == 0 ? 0 : TABLE_GAP, "", width,
                         cell);
        used += n < 0 ? 0 : (size_t)n;
    }
    if (used >= n_bytes)
        used = n_bytes - 1;
    while (used > 0 && line[used - 1] == ' ')
        line[--used] = '\0';
}

void table_print(const struct table *table)
{
    char line[1024];
    for (long row = -1; row < (long)table->n_rows; row++) {
        table_line(table, row, line, sizeof(line));
        puts(line);
    }
}
