# progress.sh - of a change goes to stderr; -q silences it, and a dry run writes nothing
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm bitmap -p --add overlay.qcow2 b0 2>progress >/dev/null
tr '\r' '\n' <progress
qcbm bitmap -p -q --add overlay.qcow2 b1
{ qcbm bitmap -p --dry-run --add overlay.qcow2 b2 >/dev/null; } 2>&1
