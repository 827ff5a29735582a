-- @title skipped.operations c,d with primary key changes and transaction metadata
-- @connector {"skipped.operations":"c,d", "provide.transaction.metadata":"true"}
CREATE TABLE t (id int PRIMARY KEY, a text);
-- @start
BEGIN; INSERT INTO t VALUES (1, 'a'); UPDATE t SET a = 'b'; UPDATE t SET id = 2; DELETE FROM t; TRUNCATE t; COMMIT;
