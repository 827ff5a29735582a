-- @title other handling modes
-- @connector {"decimal.handling.mode":"double", "time.precision.mode":"adaptive_time_microseconds", "hstore.handling.mode":"map", "interval.handling.mode":"string", "binary.handling.mode":"hex", "include.unknown.datatypes":"true", "money.fraction.digits":"1"}
CREATE EXTENSION hstore;
CREATE TYPE comp AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, l pg_lsn, tq tsquery, c comp, mr int4multirange, vb varbit, n numeric, n52 numeric(5,2), m money, h hstore, iv interval, ba bytea, ts timestamp(3), ts6 timestamp, ti time(3), d date, tsz timestamptz, tz timetz, ln line, bx box, na numeric[], ia interval[], baa bytea[], ma money[], ca comp[]);
INSERT INTO t VALUES (1, '1/2', 'a & b', ROW(1,'x y'), '{[1,3)}', B'1', 1.50, 2.25, 3.45, 'a=>1,b=>NULL', '1 year 2 mons 3 days 04:05:06.789', '\x00ff', '2020-01-01 01:02:03.456', '0044-03-15 01:02:03.456789 BC', '01:02:03.4', '0044-03-15 BC', '0044-03-15 00:00:00+00 BC', '01:02:03+02', '{1,2,3}', '(1,2),(3,4)', '{1.5,NULL}', '{1 day}', '{"\\xab"}', '{1}', '{"(1,x)"}');
INSERT INTO t (id) VALUES (2);
-- @start
INSERT INTO t SELECT 3, l,tq,c,mr,vb,n,n52,m,h,iv,ba,ts,ts6,ti,d,tsz,tz,ln,bx,na,ia,baa,ma,ca FROM t WHERE id = 1;
INSERT INTO t (id) VALUES (4);
-- @check end
