# human.sh - one line, and the extents that were written
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm synth overlay.qcow2 b0
qcbm extents overlay.qcow2 b0
qemu-img check -q overlay.qcow2
