-- @title unavailable.value.placeholder in hexadecimal digits
-- @connector {"unavailable.value.placeholder":"hex:3f41"}
CREATE TABLE t (id int PRIMARY KEY, a text, b bytea, c int[], z int);
ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER c SET STORAGE EXTERNAL;
-- @start
INSERT INTO t VALUES (1, repeat('a', 3000), repeat('b', 3000)::bytea, (SELECT array_agg(n) FROM generate_series(1, 1000) n), 1); UPDATE t SET z = 2;
