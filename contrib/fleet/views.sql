-- views.sql - what is known of each image, in the SQL that SQLite, PostgreSQL and DuckDB share; after the file of the engine
-- SPDX-License-Identifier: MIT

-- Runs that make the checkpoint or find it, by image and from the last to the first. A run is good if it is there after it and can
-- be relied on. One that has succeeded in something else is none of them: a dry run, another bitmap or one that is disabled, or
-- in another image. Of what failed it is not known, and it counts. An image without a tag is called by its file.
CREATE VIEW checkpoint_run AS
SELECT run.*, CASE WHEN image_id LIKE 'tag-%' THEN image_id END AS tag,
       coalesce(file_id, CASE WHEN image_id NOT LIKE 'tag-%' THEN image_id END) AS file,
       CASE WHEN rc = 0 THEN 1 ELSE 0 END AS good,
       CASE WHEN rc = 0 AND changed = 1 THEN 'made' WHEN rc = 0 THEN 'kept' WHEN rc = 75 THEN 'in use'
            WHEN rc > 128 THEN 'killed' ELSE 'failed' END AS state,
       row_number() OVER (PARTITION BY image ORDER BY started DESC) AS age
FROM run
WHERE schema = 'qcbm.synth/1' AND
      (rc <> 0 OR (dry_run = 0 AND enabled = 1 AND target = overlay AND bitmap IN (SELECT checkpoint FROM fleet)));

-- Each image of the list with its last run; 'never' if there is none.
CREATE VIEW last_state AS
SELECT image.image, coalesce(r.state, 'never') AS state, r.started, r.host, r.rc, r.error_code, r.error_message, r.dirty_bytes,
       g.last_good
FROM image
LEFT JOIN (SELECT * FROM checkpoint_run WHERE age = 1) r ON r.image = image.image
LEFT JOIN (SELECT image, max(started) AS last_good FROM checkpoint_run WHERE good = 1 GROUP BY image) g ON g.image = image.image;

CREATE VIEW failure AS
SELECT started, host, image, schema, rc, error_code, error_message, error_offset FROM run WHERE rc NOT IN (0, 75);

-- What is dirty in the checkpoint, from one good run to the next.
CREATE VIEW growth AS
SELECT image, started, dirty_bytes,
       dirty_bytes - lag(dirty_bytes) OVER (PARTITION BY image ORDER BY started) AS grown_bytes
FROM checkpoint_run WHERE good = 1 AND dirty_bytes IS NOT NULL;
