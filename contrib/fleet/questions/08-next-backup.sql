-- How much would an incremental backup of everything be now, and of how much is that?
-- SPDX-License-Identifier: MIT
SELECT count(*) AS images, sum(r.dirty_bytes) AS dirty_bytes, sum(r.virtual_size) AS virtual_bytes
FROM last_state JOIN checkpoint_run r ON r.image = last_state.image AND r.started = last_state.last_good;
