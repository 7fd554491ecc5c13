# progress.sh - of --usage goes to stderr; without --usage there is nothing to wait for
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm info -p --usage overlay.qcow2 2>progress >/dev/null
tr '\r' '\n' <progress
{ qcbm info -p overlay.qcow2 >/dev/null; } 2>&1
