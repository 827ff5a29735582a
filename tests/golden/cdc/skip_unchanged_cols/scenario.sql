-- @title skip.messages.without.change with column filters and default identity
-- @connector {"skip.messages.without.change":"true", "column.include.list":"public.a.(id|v)"}
CREATE TABLE a (id int PRIMARY KEY, v text, w text);
ALTER TABLE a REPLICA IDENTITY FULL;
CREATE TABLE b (id int PRIMARY KEY, v text, w text);
-- @start
INSERT INTO a VALUES (1, 'x', 'y'); UPDATE a SET w = 'z'; UPDATE a SET v = 'z';
INSERT INTO b VALUES (1, 'x', 'y'); UPDATE b SET w = 'z';
