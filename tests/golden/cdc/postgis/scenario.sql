-- @title PostGIS geometry and geography
-- @connector {"column.propagate.source.type":"public.g.*", "table.include.list":"public.g"}
CREATE EXTENSION postgis;
CREATE TABLE g (id int PRIMARY KEY, ge geometry, gp geometry(Point, 4326) NOT NULL, gg geography, ggp geography(Point), a geometry[], gz geometry(PointZ, 4326));
INSERT INTO g VALUES (1, 'POINT(1 2)', 'SRID=4326;POINT(1 2)', 'POINT(1 2)', 'POINT(3 4)', ARRAY['POINT(1 2)'::geometry, NULL], 'SRID=4326;POINT Z (1 2 3)'), (2, 'LINESTRING(0 0,1 1)', 'SRID=4326;POINT EMPTY', 'POLYGON((0 0,1 0,1 1,0 0))', NULL, '{}', NULL);
-- @start
INSERT INTO g VALUES (3, 'SRID=3187;POINT(174.9 -36.7)', 'SRID=4326;POINT(1 2)', 'POINT(1 2)', 'POINT(3 4)', ARRAY['POINT(1 2)'::geometry, NULL], 'SRID=4326;POINT Z (1 2 3)'), (4, 'GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))', 'SRID=4326;POINT EMPTY', NULL, NULL, '{}', NULL), (5, 'CIRCULARSTRING(0 0, 1 1, 2 0)', 'SRID=4326;POINT(1 2)', NULL, NULL, NULL, NULL), (6, 'POINT ZM (1 2 3 4)', 'SRID=4326;POINT(1 2)', NULL, NULL, NULL, NULL);
DELETE FROM g WHERE id = 4;
