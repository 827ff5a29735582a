-- @title column.propagate.source.type of everything
-- @connector {"column.propagate.source.type":"public\\.p\\..*|public\\.q\\.(id|n)", "datatype.propagate.source.type":"public\\.r\\.(numeric|varchar)", "field.name.adjustment.mode":"avro"}
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN d_num AS numeric(8,3);
CREATE DOMAIN d_txt AS varchar(7);
CREATE DOMAIN d_nested AS d_txt;
CREATE DOMAIN d_int AS int;
CREATE DOMAIN d_ts AS timestamp(3);
CREATE TABLE p (id int PRIMARY KEY, i2 smallint, i8 bigint, f4 real, f8 float8, b boolean, n numeric, n5 numeric(5,2), nn numeric(7), c char(3), cc "char", vc varchar, v9 varchar(9), t text, nm name, by bytea, bt bit(3), b1 bit, vb varbit, vb5 varbit(5), d date, t0 time(0), t1 time(1), tt time, tz timetz, tz3 timetz(3), ts timestamp, ts0 timestamp(0), ts1 timestamp(1), ts3 timestamp(3), tsz timestamptz, tsz3 timestamptz(3), iv interval, iv3 interval(3), ivy interval year to month, u uuid, j json, jb jsonb, x inet, m mood, mo money, h hstore, l ltree, ci citext, r int4range, p point, o oid, dn d_num, dt d_txt, dd d_nested, di d_int, dts d_ts, ai int[], an numeric(6,2)[], av varchar(5)[], at timestamptz(3)[], am mood[], se serial, bse bigserial, "a b" text, gen int GENERATED ALWAYS AS IDENTITY);
COMMENT ON COLUMN p.t IS 'a comment';
INSERT INTO p (id, i2, n5, v9, m) VALUES (1, 2, 1.5, 'x', 'sad');
CREATE TABLE q (id int PRIMARY KEY, n numeric(4,1) NOT NULL);
CREATE TABLE r (id numeric PRIMARY KEY, n numeric(4,1) NOT NULL, v varchar(3), t text);
-- @start
INSERT INTO p (id, i2, n5, v9, m) VALUES (2, 2, 1.5, 'x', 'sad');
INSERT INTO q VALUES (1, 2);
INSERT INTO r VALUES (1, 2, 'x');
