-- What has failed since yesterday, by kind, and on how many images?
-- SPDX-License-Identifier: MIT
SELECT error_code, count(*) AS runs, count(DISTINCT image) AS images, min(error_message) AS for_example
FROM failure, clock
WHERE started >= yesterday
GROUP BY error_code
ORDER BY runs DESC, error_code;
