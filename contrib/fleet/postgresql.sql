-- postgresql.sql - what a fleet leaves, in PostgreSQL (12 or newer): the lines as they are, and columns of them
-- SPDX-License-Identifier: MIT
CREATE TABLE IF NOT EXISTS image (
    image text PRIMARY KEY -- as the list has it, which is what the jobs say
);
-- The bitmap that the jobs make, one row: FLEET_CHECKPOINT of the environment.
CREATE TABLE IF NOT EXISTS fleet (
    checkpoint text NOT NULL
);
-- Loading a line again is without effect.
CREATE TABLE IF NOT EXISTS record (
    line jsonb NOT NULL,
    digest text GENERATED ALWAYS AS (md5(line::text)) STORED UNIQUE,
    started text GENERATED ALWAYS AS (line ->> 'started') STORED,
    image text GENERATED ALWAYS AS (line ->> 'image') STORED
);
CREATE INDEX IF NOT EXISTS record_of_image ON record (image, started);
CREATE INDEX IF NOT EXISTS record_of_time ON record (started);

CREATE VIEW run AS
SELECT line ->> 'schema' AS schema, line ->> 'qcbm' AS version, line ->> 'host' AS host, image,
       line ->> 'image_id' AS image_id, line ->> 'file_id' AS file_id, started, (line ->> 'seconds')::float8 AS seconds, (line ->> 'rc')::int AS rc,
       line #>> '{error,code}' AS error_code, line #>> '{error,message}' AS error_message,
       (line #>> '{error,offset}')::numeric AS error_offset, (line ->> 'warnings')::bigint AS warnings,
       line ->> 'details' AS details, line #>> '{result,bitmap}' AS bitmap,
       (line #>> '{result,changed}')::boolean::int AS changed,
       (line #>> '{result,dry-run}')::boolean::int AS dry_run, (line #>> '{result,enabled}')::boolean::int AS enabled,
       line #>> '{result,image}' AS target, line #>> '{result,overlay}' AS overlay,
       (line #>> '{result,dirty-bytes}')::bigint AS dirty_bytes,
       (line #>> '{result,virtual-size}')::bigint AS virtual_size
FROM record;

-- As the times in the records are written, so that they can be compared as text.
CREATE VIEW clock AS
SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS yesterday,
       to_char(now() AT TIME ZONE 'UTC' - interval '7 days', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS week_ago;
