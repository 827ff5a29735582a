-- @title transaction metadata with messages, truncate, message only, no key, updates of skipped operations
-- @connector {"provide.transaction.metadata":"true", "skipped.operations":"none", "topic.transaction":"tx", "heartbeat.interval.ms":"0", "skip.messages.without.change":"true"}
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE "B c" (id int, v text);
ALTER TABLE a REPLICA IDENTITY FULL;
-- @start
BEGIN; INSERT INTO a VALUES (1, 'x'); SELECT FROM pg_logical_emit_message(true, 'p', 'in'); INSERT INTO "B c" VALUES (1, 'x'); SELECT FROM pg_logical_emit_message(false, 'q', 'out'); UPDATE a SET v = 'x'; UPDATE a SET v = 'y'; COMMIT;
SELECT FROM pg_logical_emit_message(true, 'p', 'alone');
BEGIN; TRUNCATE a, "B c"; COMMIT;
-- @check before
-- @in A BEGIN
-- @in A INSERT INTO a VALUES (7, 'a')
-- @in A INSERT INTO a VALUES (8, 'a')
-- @stop
-- @in A COMMIT
-- @resume
INSERT INTO a VALUES (9, 'b');
-- @check end
