-- @title xmin
-- @connector {"xmin.fetch.interval.ms":"1"}
CREATE TABLE f (id int PRIMARY KEY, v text);
INSERT INTO f VALUES (0, 'a');
-- @start
INSERT INTO f VALUES (1, 'a');
-- @sleep 1
INSERT INTO f VALUES (2, 'a');
