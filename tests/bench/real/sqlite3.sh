#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# sqlite3: inserts, an index and a query in memory.

case $1 in
prepare)
	command -v sqlite3 >/dev/null || { echo "sqlite3 not found" && exit 77; }
	cat >work.sql <<-EOT
		CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $((300000 * ${SCALE:-100} / 100)))
		INSERT INTO t SELECT i, 'name ' || (i * 7919 % 100003), i * 0.5 FROM n;
		CREATE INDEX by_name ON t(name);
		SELECT count(*), sum(length(name)) FROM t WHERE name > 'name 5';
		SELECT group_concat(name, '') FROM (SELECT name FROM t ORDER BY value DESC LIMIT 20000);
	EOT
	;;
run)
	exec sqlite3 :memory: <work.sql
	;;
esac
