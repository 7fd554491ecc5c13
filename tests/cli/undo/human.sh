# human.sh - one line, and the very bytes again
# SPDX-License-Identifier: MIT
fixture ten-overlay
cp overlay.qcow2 first
qcbm synth -q --undo one overlay.qcow2 b0
cp overlay.qcow2 second
qcbm bitmap --disable --undo two overlay.qcow2 b0
qcbm undo --dry-run overlay.qcow2 two
qcbm undo overlay.qcow2 two
cmp overlay.qcow2 second
qcbm undo overlay.qcow2 one
cmp overlay.qcow2 first
unchanged overlay.qcow2 qcbm undo overlay.qcow2 one
qcbm undo -q overlay.qcow2 one
