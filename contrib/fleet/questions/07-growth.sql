-- Which checkpoints have grown most in a week?
-- SPDX-License-Identifier: MIT
SELECT image, sum(grown_bytes) AS grown_bytes, max(dirty_bytes) AS most_dirty_bytes
FROM growth, clock
WHERE started >= week_ago AND grown_bytes IS NOT NULL
GROUP BY image
HAVING sum(grown_bytes) > 0
ORDER BY grown_bytes DESC, image
LIMIT 20;
