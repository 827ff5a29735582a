-- @title regex naming
-- @connector {"topic.naming.strategy":"io.debezium.schema.SchemaRegexTopicNamingStrategy", "topic.regex":"(.*)\\.shard_[0-9]+", "topic.replacement":"$1.shards", "topic.delimiter":".", "topic.key.field.regex":"(.*)\\.(shard_[0-9]+)", "topic.key.field.replacement":"$2"}
CREATE TABLE shard_1 (id int PRIMARY KEY, v text);
CREATE TABLE shard_2 (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY, v text);
CREATE TABLE shard_3 (id int, v text);
INSERT INTO shard_1 VALUES (1, 'a');
-- @start
INSERT INTO shard_2 VALUES (1, 'a');
UPDATE shard_2 SET id = 2;
DELETE FROM shard_2;
INSERT INTO other VALUES (1, 'b');
INSERT INTO shard_3 VALUES (1, 'b');
