# progress.sh - goes to stderr, and -q silences it
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm synth -p overlay.qcow2 b0 2>progress >/dev/null
tr '\r' '\n' <progress
qcbm synth -p -q overlay.qcow2 b1
