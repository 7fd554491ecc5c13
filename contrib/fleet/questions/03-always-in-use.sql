-- Which images have been in use at every run since their last good one, and how often?
-- SPDX-License-Identifier: MIT
SELECT last_state.image, count(*) AS runs, last_state.last_good
FROM last_state JOIN checkpoint_run r
  ON r.image = last_state.image AND r.started > coalesce(last_state.last_good, '')
GROUP BY last_state.image, last_state.last_good
HAVING min(r.rc) = 75 AND max(r.rc) = 75
ORDER BY runs DESC, last_state.image;
