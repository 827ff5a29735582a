-- @title include.schema.comments, with and without propagation
-- @connector {"include.schema.comments":"true", "column.propagate.source.type":"public.t.b"}
CREATE TABLE t (id int PRIMARY KEY, a text, b text);
COMMENT ON TABLE t IS 'the table'; COMMENT ON COLUMN t.a IS 'an a'; COMMENT ON COLUMN t.b IS 'a b'; COMMENT ON COLUMN t.id IS 'key';
INSERT INTO t VALUES (1, 'a', 'b');
-- @start
INSERT INTO t VALUES (2, 'a', 'b');
