-- @title topic.delimiter in all topics
-- @topics topic_delimiter.*
-- @topics hb.*
-- @connector {"topic.delimiter":"_", "provide.transaction.metadata":"true", "topic.transaction":"tx", "topic.heartbeat.prefix":"hb", "message.prefix.include.list":"p.*,q"}
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t VALUES (1, 'a');
-- @start
BEGIN; INSERT INTO t VALUES (2, 'a'); SELECT FROM pg_logical_emit_message(true, 'pp', 'x'); SELECT FROM pg_logical_emit_message(true, 'qq', 'x'); SELECT FROM pg_logical_emit_message(true, 'Q', 'x'); COMMIT;
