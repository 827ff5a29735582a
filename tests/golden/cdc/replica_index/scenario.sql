-- @title replica identity using index; keys of tables without a primary key
-- @connector {"replica.identity.autoset.values":"public.f:FULL,public.d.*:DEFAULT,public.x:INDEX x_u"}
CREATE TABLE f (id int PRIMARY KEY, v text);
CREATE TABLE dx (id int PRIMARY KEY, v text);
ALTER TABLE dx REPLICA IDENTITY FULL;
CREATE TABLE x (id int PRIMARY KEY, u int NOT NULL, v text);
CREATE UNIQUE INDEX x_u ON x (u);
CREATE TABLE nopk (a int NOT NULL UNIQUE, b int UNIQUE, v text);
-- @start
INSERT INTO f VALUES (1, 'a'); UPDATE f SET v = 'b';
INSERT INTO dx VALUES (1, 'a'); UPDATE dx SET v = 'b';
INSERT INTO nopk VALUES (1, 2, 'a');
INSERT INTO x VALUES (1, 2, 'a'); UPDATE x SET v = 'b'; UPDATE x SET u = 3;
