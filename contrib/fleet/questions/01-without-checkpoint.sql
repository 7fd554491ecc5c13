-- Which images have no good checkpoint since yesterday, and why?
-- SPDX-License-Identifier: MIT
SELECT image, state, last_good, error_code, error_message
FROM last_state, clock
WHERE last_good IS NULL OR last_good < yesterday
ORDER BY image;
