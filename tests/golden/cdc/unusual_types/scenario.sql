-- @title unusual types
-- @connector {"snapshot.mode":"initial"}
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE EXTENSION isn;
CREATE DOMAIN dn AS numeric(8,3); CREATE DOMAIN dt AS text NOT NULL DEFAULT 'x'; CREATE DOMAIN dts AS timestamp(3); CREATE DOMAIN ddn AS dn;
CREATE TYPE comp AS (a int, b text);
CREATE TYPE ab AS ENUM ('a','b');
CREATE TABLE t (id int PRIMARY KEY, l pg_lsn, tv tsvector, tq tsquery, c comp, mr int4multirange, nmr nummultirange, r tstzrange, vb varbit, vb5 varbit(5), b8 bit(8), b1 bit(1), b bit, tz timetz, tz3 timetz(3), iv interval, ivy interval year to month, iv3 interval(3), ch char(5), bc "char", c1 char, n numeric, n0 numeric(5), n52 numeric(5,2), ddn ddn, dts dts, dt dt, lt ltree, lq lquery, ci citext, h hstore, xid xid, cid cid, tid tid, o oid, rc regclass, rt regtype, sn txid_snapshot, ps pg_snapshot, jp jsonpath, j json, jb jsonb, cu cube, m money, mac macaddr, mac8 macaddr8, inet inet, cidr cidr, u uuid, e ab, i4r int4range, i8r int8range, dr daterange, ba bytea);
INSERT INTO t VALUES (1, '16/B374D848', 'a:1 b:2A', 'a & b', ROW(1,'x'), '{[1,3),[5,7)}', '{[1.5,2.5)}', '[2020-01-01 00:00+00,)', B'10101', B'101', B'10101010', B'1', B'0', '12:34:56.789+02', '23:59:59.999-05:30', '1 year 2 mons 3 days 04:05:06.789', '3 years 2 mons', '-1 day -00:00:01.5', 'ab', 'z', 'q', 12345.678900, 12345, -1.50, 1.5, '2020-01-01 12:34:56.7899', 'dd', 'a.b.c', 'a.*', 'CiTe', 'a=>1,b=>NULL', '123', '5', '(0,1)', 4000000000, 't', 'int4', '10:20:10,14', '10:20:10,14', '$.a[*]', '{"a": 1}', '{"b":  2, "a":1}', '(1,2),(3,4)', '-1234.5', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '192.168.1.5/24', '10.0.0.0/8', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'b', '[1,5]', '(,9)', '[2020-01-01,2020-02-01]', '\xdeadbeef');
INSERT INTO t (id) VALUES (2);
-- @start
INSERT INTO t SELECT 3, l,tv,tq,c,mr,nmr,r,vb,vb5,b8,b1,b,tz,tz3,iv,ivy,iv3,ch,bc,c1,n,n0,n52,ddn,dts,dt,lt,lq,ci,h,xid,cid,tid,o,rc,rt,sn,ps,jp,j,jb,cu,m,mac,mac8,inet,cidr,u,e,i4r,i8r,dr,ba FROM t WHERE id=1;
INSERT INTO t (id) VALUES (4);
UPDATE t SET n = 'NaN', ch = '', vb = B'', h = '', ba = '' WHERE id = 3;
DELETE FROM t WHERE id = 4;
-- @check end
