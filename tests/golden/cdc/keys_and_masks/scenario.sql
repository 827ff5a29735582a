-- @title keys, masks, filters together
-- @connector {"message.key.columns":"public.(.*):k1,k2;public.q:x", "column.mask.with.3.chars":"public.t.m", "column.truncate.to.2.chars":"public.t.s", "column.mask.hash.v2.SHA-256.with.salt.abc":"public.t.h", "column.exclude.list":"public.t.ex", "datatype.propagate.source.type":".+\\.varchar,.+\\.numeric", "tombstones.on.delete":"false", "skipped.operations":"none", "unavailable.value.placeholder":"GONE"}
CREATE TABLE t (id int PRIMARY KEY, k1 int, k2 text, m varchar(10), s varchar(20), h text, ex int, n numeric(5,1), big text, ba bytea, ta text[]); ALTER TABLE t REPLICA IDENTITY FULL;
CREATE TABLE q (id int, x uuid, y int, PRIMARY KEY (y, id));
CREATE TABLE k (k1 int, k2 int, k3 int, PRIMARY KEY (k3));
ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER ba SET STORAGE EXTERNAL, ALTER ta SET STORAGE EXTERNAL;
INSERT INTO t VALUES (1, 1, 'a', 'mask', 'truncated', 'hash', 1, 1.5, repeat('x', 3000), decode(repeat('ab', 3000), 'hex'), array[repeat('y', 3000)]);
INSERT INTO q VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2); INSERT INTO k VALUES (1,2,3);
-- @start
UPDATE t SET n = 2.5; UPDATE t SET k1 = 2; ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET n = 3.5; UPDATE t SET s = NULL, m = NULL, h = NULL; UPDATE t SET id = 5; DELETE FROM t;
UPDATE q SET x = NULL; UPDATE q SET y = 5; DELETE FROM q;
UPDATE k SET k1 = 7; UPDATE k SET k3 = 7; DELETE FROM k; TRUNCATE k, q;
-- @check end
