-- sqlite.sql - what a fleet leaves, in one file of SQLite (3.38 or newer): the lines as they are, and columns of them
-- SPDX-License-Identifier: MIT
CREATE TABLE IF NOT EXISTS image (
    image TEXT PRIMARY KEY NOT NULL -- as the list has it, which is what the jobs say
);
-- The bitmap that the jobs make, one row: FLEET_CHECKPOINT of the environment.
CREATE TABLE IF NOT EXISTS fleet (
    checkpoint TEXT NOT NULL
);
-- Loading a line again is without effect.
CREATE TABLE IF NOT EXISTS record (
    line TEXT NOT NULL UNIQUE CHECK (json_valid(line)),
    started TEXT GENERATED ALWAYS AS (line ->> '$.started') STORED,
    image TEXT GENERATED ALWAYS AS (line ->> '$.image') STORED
);
CREATE INDEX IF NOT EXISTS record_of_image ON record (image, started);
CREATE INDEX IF NOT EXISTS record_of_time ON record (started);

CREATE VIEW run AS
SELECT line ->> '$.schema' AS schema, line ->> '$.qcbm' AS version, line ->> '$.host' AS host, image,
       line ->> '$.image_id' AS image_id, line ->> '$.file_id' AS file_id, started, line ->> '$.seconds' AS seconds, line ->> '$.rc' AS rc,
       line ->> '$.error.code' AS error_code, line ->> '$.error.message' AS error_message,
       line ->> '$.error.offset' AS error_offset, line ->> '$.warnings' AS warnings, line ->> '$.details' AS details,
       line ->> '$.result.bitmap' AS bitmap, line ->> '$.result.changed' AS changed,
       line ->> '$.result.dry-run' AS dry_run, line ->> '$.result.enabled' AS enabled,
       line ->> '$.result.image' AS target, line ->> '$.result.overlay' AS overlay,
       line ->> '$.result.dirty-bytes' AS dirty_bytes, line ->> '$.result.virtual-size' AS virtual_size
FROM record;

-- As the times in the records are written, so that they can be compared as text.
CREATE VIEW clock AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day') AS yesterday,
       strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-7 days') AS week_ago;
