-- @title masks of all types, keys, toast, together with propagation
-- @connector {"column.mask.with.3.chars":"public.a.*", "column.mask.hash.v2.SHA-256.with.salt.x":"public.b.*", "column.truncate.to.2.chars":"public.c.*,public.d.t", "column.propagate.source.type":"public.d.*", "column.mask.hash.SHA-1.with.salt.y":"public.d.*"}
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE a (id varchar(5) PRIMARY KEY, i int, c char(4), cc "char", nm name, ci citext, m mood, u uuid, j json, jb jsonb, x inet, by bytea, bt bit(30), n numeric(20,2), d date, tsz timestamptz, iv interval, r int4range, l ltree, h hstore, at text[], mo money, v3 varchar(3) NOT NULL DEFAULT 'q');
CREATE TABLE b (LIKE a INCLUDING ALL);
CREATE TABLE c (LIKE a INCLUDING ALL);
CREATE TABLE d (id varchar(5) PRIMARY KEY, t text, u varchar(9));
ALTER TABLE a ALTER h SET STORAGE EXTERNAL;
-- @start
INSERT INTO a VALUES ('ident', 5, 'abcd', 'x', 'namename', 'citext', 'happy', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":1}', '{"a":1}', '10.0.0.1', '\x01020304', B'111111111111111111111111111111', 12345678.9, '2024-01-01', '2024-01-01 00:00+00', '1 day', '[1,2]', 'a.b', 'a=>1', '{aaaa,bbbb}', 12.5, 'abc');
INSERT INTO b SELECT * FROM a;
INSERT INTO c SELECT * FROM a;
INSERT INTO d VALUES ('ident', 'text text', 'uuuu');
UPDATE a SET id = 'other'; UPDATE b SET id = 'other'; UPDATE c SET id = 'other';
DELETE FROM a; DELETE FROM b; DELETE FROM c;
