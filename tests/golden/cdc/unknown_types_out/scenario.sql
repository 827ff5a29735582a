-- @title unknown types left out
-- @connector {}
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN dom AS tsquery;
CREATE TABLE a (id int PRIMARY KEY, l line, pr pair, mr int4multirange, x8 xid8, dq dom, atq tsquery[], apr pair[], o8 oidvector, i2v int2vector, re regclass, ti tid, ar int4range[], atsv tsvector[], al macaddr8[], m8 macaddr8);
INSERT INTO a VALUES (1, '{1,2,3}', '(1,b)', '{[1,2)}', '5', 'a & b', '{a}', '{"(1,b)"}', '1 2', '1 2', 'pg_class', '(0,1)', '{"[1,2)"}', '{a}', '{08:00:2b:01:02:03:04:05}', '08:00:2b:01:02:03:04:05');
-- @start
INSERT INTO a SELECT 2, l, pr, mr, x8, dq, atq, apr, o8, i2v, re, ti, ar, atsv, al, m8 FROM a;
