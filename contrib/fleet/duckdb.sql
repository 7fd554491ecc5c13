-- duckdb.sql - what a fleet leaves, in DuckDB (1.0 or newer): the lines as they are, and columns of them
-- SPDX-License-Identifier: MIT
CREATE TABLE IF NOT EXISTS image (
    image VARCHAR PRIMARY KEY -- as the list has it, which is what the jobs say
);
-- The bitmap that the jobs make, one row: FLEET_CHECKPOINT of the environment.
CREATE TABLE IF NOT EXISTS fleet (
    checkpoint VARCHAR NOT NULL
);
-- Loading a line again is without effect.
CREATE TABLE IF NOT EXISTS record (
    line JSON NOT NULL,
    digest VARCHAR PRIMARY KEY
);

CREATE VIEW run AS
SELECT line ->> '$.schema' AS schema, line ->> '$.qcbm' AS version, line ->> '$.host' AS host,
       line ->> '$.image' AS image, line ->> '$.image_id' AS image_id, line ->> '$.file_id' AS file_id,
       line ->> '$.started' AS started, (line ->> '$.seconds')::DOUBLE AS seconds,
       (line ->> '$.rc')::INTEGER AS rc, line ->> '$.error.code' AS error_code,
       line ->> '$.error.message' AS error_message,
       (line ->> '$.error.offset')::UBIGINT AS error_offset, (line ->> '$.warnings')::BIGINT AS warnings,
       line ->> '$.details' AS details, line ->> '$.result.bitmap' AS bitmap,
       (line ->> '$.result.changed')::BOOLEAN::INTEGER AS changed,
       (line ->> '$.result."dry-run"')::BOOLEAN::INTEGER AS dry_run,
       (line ->> '$.result.enabled')::BOOLEAN::INTEGER AS enabled,
       line ->> '$.result.image' AS target, line ->> '$.result.overlay' AS overlay,
       (line ->> '$.result."dirty-bytes"')::BIGINT AS dirty_bytes,
       (line ->> '$.result."virtual-size"')::BIGINT AS virtual_size
FROM record;

-- As the times in the records are written, so that they can be compared as text.
CREATE VIEW clock AS
SELECT strftime(now() AT TIME ZONE 'UTC' - INTERVAL 1 DAY, '%Y-%m-%dT%H:%M:%S.%fZ') AS yesterday,
       strftime(now() AT TIME ZONE 'UTC' - INTERVAL 7 DAY, '%Y-%m-%dT%H:%M:%S.%fZ') AS week_ago;
