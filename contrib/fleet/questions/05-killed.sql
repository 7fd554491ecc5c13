-- Which runs since yesterday were ended by a signal, and where?
-- SPDX-License-Identifier: MIT
SELECT host, image, started, rc - 128 AS signal, seconds
FROM run, clock
WHERE rc > 128 AND started >= yesterday
ORDER BY started, image;
