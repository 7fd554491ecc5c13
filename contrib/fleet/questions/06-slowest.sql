-- Which images take longest?
-- SPDX-License-Identifier: MIT
SELECT image, max(seconds) AS longest, avg(seconds) AS average, count(*) AS runs
FROM checkpoint_run, clock
WHERE started >= week_ago
GROUP BY image
ORDER BY longest DESC, image
LIMIT 20;
