-- @title not null and defaults of unusual types, deletes with identity default
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext;
CREATE TYPE ab AS ENUM ('a','b');
CREATE TABLE t (id int PRIMARY KEY, l pg_lsn NOT NULL DEFAULT '0/0', tv tsvector NOT NULL DEFAULT 'a:1', vb varbit NOT NULL DEFAULT B'101', b8 bit(8) NOT NULL DEFAULT B'10101010', b1 bit NOT NULL DEFAULT B'1', tz timetz NOT NULL DEFAULT '12:00+02', iv interval NOT NULL DEFAULT '1 year', ch char(5) NOT NULL DEFAULT 'ab', n numeric NOT NULL DEFAULT 1.50, n52 numeric(5,2) NOT NULL DEFAULT 1.5, lt ltree NOT NULL DEFAULT 'a.b', ci citext NOT NULL DEFAULT 'Ci', h hstore NOT NULL DEFAULT 'a=>1', m money NOT NULL DEFAULT 5, inet inet NOT NULL DEFAULT '1.2.3.4', u uuid NOT NULL DEFAULT gen_random_uuid(), e ab NOT NULL DEFAULT 'b', r int4range NOT NULL DEFAULT '[1,2)', ba bytea NOT NULL DEFAULT '\xab', j jsonb NOT NULL DEFAULT '{"a":1}', ts timestamp NOT NULL DEFAULT now(), tsz timestamptz NOT NULL DEFAULT '2020-01-01+00', d date NOT NULL DEFAULT '2020-01-02', ti time NOT NULL DEFAULT '01:02:03', a int[] NOT NULL DEFAULT '{1,2}', p point NOT NULL DEFAULT '(1,2)', b bool NOT NULL DEFAULT true, i8 bigint NOT NULL DEFAULT 5000000000, f float8 NOT NULL DEFAULT 1.5, f4 float4 NOT NULL DEFAULT -0.5, i2 smallint NOT NULL DEFAULT -3, s text NOT NULL DEFAULT E'a\nb', sc text NOT NULL DEFAULT lower('ABC'), cu text NOT NULL DEFAULT current_user, x text DEFAULT NULL, y int DEFAULT 1+2, z text DEFAULT 'opt');
INSERT INTO t (id) VALUES (1);
-- @start
INSERT INTO t (id) VALUES (2);
UPDATE t SET x = 'x' WHERE id = 1;
DELETE FROM t WHERE id = 2;
-- @check end
