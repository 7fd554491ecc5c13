-- Where is another file under the same name, or was a checkpoint made anew that was there before? The next backup has to be full.
-- SPDX-License-Identifier: MIT
SELECT image, started, CASE WHEN image_id <> id_before THEN 'another file' ELSE 'checkpoint was gone' END AS why
FROM (SELECT image, started, image_id, bitmap, changed,
             lag(image_id) OVER (PARTITION BY image ORDER BY started) AS id_before,
             lag(bitmap) OVER (PARTITION BY image ORDER BY started) AS bitmap_before
      FROM checkpoint_run WHERE good = 1) AS pair
WHERE image_id <> id_before OR (changed = 1 AND bitmap = bitmap_before)
ORDER BY started, image;
