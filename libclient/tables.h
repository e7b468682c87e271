/*
 * Where the library's variables lie, so that a process that begins pays for few pages.
 *
 * A page of zeros that a fault brings in costs a process ten times as much as one that a system
 * call brings in together with its neighbours. So large tables, of which a small program touches
 * one page or none, lie behind everything else (tables.ld), and what remains is a few pages in a
 * row, with the beginnings of the tables that every heap needs right behind them.
 */
#ifndef HAKMEM_LIBCLIENT_TABLES_H
#define HAKMEM_LIBCLIENT_TABLES_H

/* For zero-initialised tables of pages: the one that lies behind the small variables, because every
 * heap needs its beginning, and all others. */
#define TABLE_FIRST __attribute__((section(".bss.table_first")))
#define TABLE_LARGE __attribute__((section(".bss.table_large")))

/* Where the zero-initialised variables begin. NULL in a program that the library is a part of:
 * there nobody has laid them out so. */
extern char tables_begin[] __attribute__((weak, visibility("hidden")));

#endif
