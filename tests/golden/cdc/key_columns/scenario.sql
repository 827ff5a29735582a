-- @title message.key.columns
-- @connector {"message.key.columns":"(.*).a:v,w;public.b:w;public.nokey:(.*)x;public.c:missing"}
CREATE TABLE a (id int PRIMARY KEY, w int, v text NOT NULL DEFAULT 'dd', z int);
CREATE TABLE b (id int PRIMARY KEY, w int NOT NULL);
CREATE TABLE nokey (ax int, bx int, cy int);
CREATE TABLE c (id int PRIMARY KEY, w int NOT NULL);
ALTER TABLE nokey REPLICA IDENTITY FULL;
INSERT INTO a VALUES (1, 1, 'v', 1), (2, NULL, 'w', 1);
-- @start
INSERT INTO a VALUES (3, 3, 'x', 1);
UPDATE a SET z = 2 WHERE id = 3;
UPDATE a SET v = 'y' WHERE id = 3;
ALTER TABLE a REPLICA IDENTITY FULL;
UPDATE a SET v = 'q' WHERE id = 1;
DELETE FROM a WHERE id = 1;
INSERT INTO b VALUES (1, 2);
DELETE FROM b;
INSERT INTO nokey VALUES (1, 2, 3);
UPDATE nokey SET ax = 2;
INSERT INTO c VALUES (1, 2);
