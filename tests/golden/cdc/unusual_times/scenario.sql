-- @title times under isostring
-- @connector {"time.precision.mode":"isostring", "interval.handling.mode":"string", "decimal.handling.mode":"string", "binary.handling.mode":"base64-url-safe"}
CREATE TABLE t (id int PRIMARY KEY, d date, t0 time(0), t3 time(3), t6 time, s0 timestamp(0), s3 timestamp(3), s6 timestamp, z0 timestamptz(0), z3 timestamptz(3), z6 timestamptz, tz0 timetz(0), tz6 timetz, iv interval, n numeric, n2 numeric(6,2), m money, ba bytea, da date[], ta time[], sa timestamp[], sa3 timestamp(3)[], za timestamptz[], ba2 bytea[], na numeric[]);
INSERT INTO t VALUES (1, '0044-03-15 BC', '00:00:00', '23:59:59.999', '24:00:00', '0044-03-15 01:02:03 BC', '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.999999', '2020-02-29 12:00:00.6+05:30', '2020-02-29 12:00:00.1236+05:30', '0001-01-01 00:00:00+00', '12:34:56.7+01', '00:00:00.000001-11', '-1 year -2 mons +3 days -04:05:06.789', -0.0010, -12.30, -1234567.89, '\xfffefd', '{2020-01-01,NULL}', '{12:34:56.123456}', '{2020-01-01 00:00:00.5,NULL}', '{2020-01-01 00:00:00.1234}', '{2020-01-01 00:00:00.5+02}', '{"\\xfffe"}', '{1.10,-2}');
INSERT INTO t (id) VALUES (2);
-- @start
INSERT INTO t SELECT 11, d,t0,t3,t6,s0,s3,s6,z0,z3,z6,tz0,tz6,iv,n,n2,m,ba,da,ta,sa,sa3,za,ba2,na FROM t WHERE id = 1;
INSERT INTO t (id) VALUES (12);
INSERT INTO t (id, d, s6, z6, t6) VALUES (13, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', '23:59:59.999999');
INSERT INTO t (id, iv) VALUES (14, '100 years'), (15, '-00:00:00.000001'), (16, '1 mon'), (17, '0');
-- @check end
