-- Which images has the last night not come to: killed without a line, or not run at all?
-- SPDX-License-Identifier: MIT
SELECT image.image, max(run.started) AS last_run
FROM clock, image LEFT JOIN checkpoint_run run ON run.image = image.image
GROUP BY image.image, clock.yesterday
HAVING max(run.started) IS NULL OR max(run.started) < clock.yesterday
ORDER BY image.image;
