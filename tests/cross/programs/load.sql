-- SPDX-License-Identifier: BSD-3-Clause
--
-- Tables, indexes, joins, sorts and text.

create table item (id integer primary key, name text, price integer, note blob);
create table sale (item integer, day integer, count integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
	insert into item select i, 'item ' || (i * 7919 % 5000), i * 31 % 1000, zeroblob(i % 600) from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
	insert into sale select i * 104729 % 5000 + 1, i % 365, i % 9 from n;
create index by_day on sale (day);
create index by_name on item (name);
select count(*), sum(length(note)) from item;
select i.name, sum(s.count * i.price) as total from sale s join item i on i.id = s.item
	group by i.id order by total desc, i.name limit 20;
select day, group_concat(item) from (select day, item from sale where day < 5 order by day, item) group by day;
update item set name = upper(name) || hex(note) where id % 10 = 0;
delete from sale where day % 3 = 0;
vacuum;
select sum(length(name)), max(name) from item;
select count(*) from sale where item in (select id from item where price > 500);
pragma integrity_check;
