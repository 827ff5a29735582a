-- @title avro adjust
-- @connector {"schema.name.adjustment.mode":"avro", "field.name.adjustment.mode":"avro"}
CREATE SCHEMA "My-Schema";
CREATE TABLE "My-Schema"."T 1" ("Id-1" int PRIMARY KEY, "1st" text, "a b.c" int, "ю_x" int);
INSERT INTO "My-Schema"."T 1" VALUES (0, 'a', 1, 1);
-- @start
INSERT INTO "My-Schema"."T 1" VALUES (1, 'a', 1, 1);
UPDATE "My-Schema"."T 1" SET "Id-1" = 2 WHERE "Id-1" = 1;
DELETE FROM "My-Schema"."T 1";
SELECT FROM pg_logical_emit_message(true, 'p', 'x');
