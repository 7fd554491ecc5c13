# progress.sh - goes to stderr, and -q silences it
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm synth -q --undo one overlay.qcow2 b0
qcbm bitmap -q --disable --undo two overlay.qcow2 b0
qcbm undo -p overlay.qcow2 two 2>progress >/dev/null
tr '\r' '\n' <progress
qcbm undo -p -q overlay.qcow2 one
