-- @title labels added to an enum
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[]);
INSERT INTO t VALUES (1, 'ok', '{ok}');
-- @start
INSERT INTO t VALUES (2, 'ok', '{ok}');
ALTER TYPE mood ADD VALUE 'glad';
INSERT INTO t VALUES (3, 'ok', '{ok}');
INSERT INTO t VALUES (4, 'glad', '{glad}');
ALTER TABLE t ADD COLUMN x int;
INSERT INTO t VALUES (5, 'glad', '{glad}');
-- @check end
