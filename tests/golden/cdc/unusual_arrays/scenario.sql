-- @title arrays of unusual types
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext;
CREATE TYPE comp AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, a1 int2[], a2 numeric[], a3 numeric(5,2)[], a4 char(3)[], a5 varchar(4)[], a6 timestamptz[], a7 timestamp[], a8 date[], a9 time[], a10 timetz[], a11 uuid[], a12 inet[], a13 cidr[], a14 macaddr[], a15 json[], a16 jsonb[], a17 bytea[], a18 bool[], a19 float4[], a20 float8[], a21 int4range[], a22 daterange[], a23 ltree[], a24 citext[], a25 hstore[], a26 oid[], a27 comp[], a28 text[], a29 int8[], a30 int4multirange[]);
INSERT INTO t VALUES (1, '{1,NULL,-3}', '{1.50,NULL,2}', '{1.5,NULL}', '{a,bc}', '{a,NULL}', '{2020-01-01 00:00:00+00,NULL,infinity}', '{2020-01-01 00:00:00.123456,NULL}', '{2020-01-01,NULL}', '{12:34:56,NULL}', '{12:34:56+02,NULL}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}', '{1.2.3.4,NULL}', '{10.0.0.0/8}', '{08:00:2b:01:02:03}', '{"{\"a\": 1}",NULL}', '{"{\"a\": 1}",NULL}', '{"\\xdead",NULL}', '{t,f,NULL}', '{1.5,NULL,NaN}', '{1.5,NULL,-Infinity}', '{"[1,5)",empty}', '{"[2020-01-01,2020-02-01)"}', '{a.b,NULL}', '{Aa,NULL}', '{"a=>1"}', '{1,2}', '{"(1,x)"}', '{"a b","c,d","e\"f","g\\h",NULL,"NULL",""}', '{1,NULL}', '{"{[1,3)}"}');
INSERT INTO t (id) VALUES (2);
INSERT INTO t (id, a1, a2, a28) VALUES (3, '{}', '{}', '{}');
-- @start
INSERT INTO t SELECT 11, a1,a2,a3,a4,a5,a6,a7,a8,a9,a10,a11,a12,a13,a14,a15,a16,a17,a18,a19,a20,a21,a22,a23,a24,a25,a26,a27,a28,a29,a30 FROM t WHERE id=1;
INSERT INTO t (id) VALUES (12);
INSERT INTO t (id, a1, a2, a28) VALUES (13, '{}', '{}', '{}');
-- @check end
