#!/bin/sh
# sqlite3: a load of a million rows into a database in memory, with indices, and queries over it.
. "$(dirname "$0")/../lib.sh"
need_library
need sqlite3
cat >"$scratch/work.sql" <<'SQL'
.open :memory:
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER, kind INTEGER);
INSERT INTO item WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
    SELECT i, 'item ' || (i * 7919 % 1000003) || ' of ' || i, i * 31 % 9973, i % 17 FROM n;
CREATE INDEX item_price ON item (price, kind);
SELECT count(*), sum(price), max(name), min(name) FROM item;
SELECT kind, count(*), avg(price), group_concat(id % 10, '') FROM item WHERE price < 50 GROUP BY kind ORDER BY kind;
SELECT a.id, b.id, a.name FROM item a JOIN item b ON a.price = b.price AND b.kind = 3 WHERE a.id % 5000 = 1 AND b.id % 1000 = 2;
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET name = upper(name) || ' sold' WHERE kind = 5;
SELECT name FROM item ORDER BY name DESC, id LIMIT 200;
SELECT count(*), sum(length(name)) FROM item;
SQL
daemon_start_warm
same_output sqlite sqlite3 -init "$scratch/work.sql" "" .exit
