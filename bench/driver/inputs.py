"""Generated inputs for the programs people run: SQL, C source. The same on every machine and in every run."""

import os

SQL = """
pragma journal_mode = off;
create table item(id integer primary key, name text, price real, note text);
create table sale(id integer primary key, item integer, day text, n integer);
with recursive k(i) as (select 1 union all select i + 1 from k where i < {items})
  insert into item select i, 'item ' || (i * 7919 % {items}), i % 1000 / 10.0, hex(zeroblob(i % 120)) from k;
with recursive k(i) as (select 1 union all select i + 1 from k where i < {sales})
  insert into sale select i, 1 + i * 104729 % {items}, 'day ' || (i % 365), i % 9 from k;
create index sale_item on sale(item);
create index item_name on item(name);
select count(*), sum(n * price) from sale join item on item.id = sale.item where name like 'item 1%';
select day, group_concat(name, ','), count(distinct item.id) from sale join item on item.id = sale.item
  where sale.id % 20 = 0 group by day order by 3 desc limit 5;
select name, length(note) from item order by note desc, name limit 10;
"""


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def c_file(index, n_functions):
    """A C file with structs, switches, loops, string tables: enough for every pass of a compiler to have work."""
    parts = ["#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n",
             f"struct record_{index} {{ int kind; long values[8]; struct record_{index} *next; char name[24]; }};\n"]
    for f in range(n_functions):
        cases = "".join(f"    case {c}: total += r->values[{c % 8}] * {c + f}; break;\n" for c in range(12))
        parts.append(f"""
static long work_{index}_{f}(struct record_{index} *list, long limit)
{{
    static const char *const words[] = {{"alpha{f}", "beta{f}", "gamma{f}", "delta{f}"}};
    long total = {f};
    for (struct record_{index} *r = list; r; r = r->next) {{
        switch (r->kind % 13) {{
{cases}    default: total ^= (long)strlen(words[r->kind & 3]);
        }}
        for (int i = 0; i < 8; i++)
            if (r->values[i] > limit && (total & (1L << (i % 7))))
                total -= r->values[i] / (i + 1);
    }}
    return total;
}}
""")
    calls = "".join(f"    sum += work_{index}_{f}(list, sum & 1023);\n" for f in range(n_functions))
    parts.append(f"\nlong entry_{index}(struct record_{index} *list)\n{{\n    long sum = 0;\n{calls}    return sum;\n}}\n")
    return "".join(parts)


def make_tree(folder, n_files):
    os.makedirs(folder, exist_ok=True)
    for i in range(n_files):
        write(os.path.join(folder, f"part{i}.c"), c_file(i, 4))
    objects = " ".join(f"part{i}.o" for i in range(n_files))
    write(os.path.join(folder, "Makefile"),
          f"all: {objects}\n%.o: %.c\n\t@$(CC) -O0 -w -c -o $@ $<\n")


def prepare(folder, quick):
    """Everything the rows of programs.py name, under one folder."""
    items, sales = (6000, 30000) if quick else (20000, 150000)
    write(os.path.join(folder, "load.sql"), SQL.format(items=items, sales=sales))
    write(os.path.join(folder, "large.c"), c_file(0, 40 if quick else 100))
    make_tree(os.path.join(folder, "tree"), 12 if quick else 30)
