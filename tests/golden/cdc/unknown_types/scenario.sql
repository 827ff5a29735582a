-- @title unknown types included
-- @connector {"include.unknown.datatypes":"true"}
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN dom AS tsquery;
CREATE TABLE a (id int PRIMARY KEY, l line, ls lseg, bx box, pa path, po polygon, ci circle, tq tsquery, tv tsvector, pl pg_lsn, tx txid_snapshot, jp jsonpath, re regclass, pr pair, mr int4multirange, x8 xid8, ti tid, dq dom, atq tsquery[], apr pair[], o8 oidvector, i2v int2vector);
INSERT INTO a VALUES (1, '{1,2,3}', '[(1,2),(3,4)]', '((1,2),(3,4))', '((1,2),(3,4))', '((1,2),(3,4))', '<(1,2),3>', 'a & b', 'a b', '0/1', '1:2:', '$.a', 'pg_class', '(1,b)', '{[1,2)}', '5', '(0,1)', 'a & b', '{a}', '{"(1,b)"}', '1 2', '1 2');
-- @start
INSERT INTO a SELECT 2, l, ls, bx, pa, po, ci, tq, tv, pl, tx, jp, re, pr, mr, x8, ti, dq, atq, apr, o8, i2v FROM a;
