-- Where is another file under the same name, or was a checkpoint made anew that was there before? The next backup has to be full.
-- An image that was moved has its tag still, but so has a copy of last week that was put in its place: who has moved none makes a full one.
-- SPDX-License-Identifier: MIT
SELECT image, started, why
FROM (SELECT image, started,
             CASE WHEN file <> file_before AND tag = tag_before THEN 'moved, or a copy in its place'
                  WHEN file <> file_before THEN 'another file'
                  WHEN file IS NULL AND (tag <> tag_before OR (tag IS NULL AND tag_before IS NOT NULL)) THEN 'another file'
                  WHEN changed = 1 AND bitmap = bitmap_before THEN 'checkpoint was gone' END AS why
      FROM (SELECT image, started, tag, file, bitmap, changed,
                   lag(tag) OVER (PARTITION BY image ORDER BY started) AS tag_before,
                   lag(file) OVER (PARTITION BY image ORDER BY started) AS file_before,
                   lag(bitmap) OVER (PARTITION BY image ORDER BY started) AS bitmap_before
            FROM checkpoint_run WHERE good = 1) AS pair) AS judged
WHERE why IS NOT NULL
ORDER BY started, image;
