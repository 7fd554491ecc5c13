-- Which machine has done how much since yesterday, with which version?
-- SPDX-License-Identifier: MIT
SELECT host, version, count(*) AS runs, sum(CASE WHEN rc = 0 THEN 1 ELSE 0 END) AS good, sum(seconds) AS seconds,
       max(started) AS last_run
FROM run, clock
WHERE started >= yesterday
GROUP BY host, version
ORDER BY host, version;
