# no_format.sh - a backing file without a format is not guessed, a protocol not followed
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img rebase -u -b nbd://localhost:1/x -F raw overlay.qcow2
fails qcbm map overlay.qcow2
qemu-img rebase -u -b overlay.qcow2 -F qcow2 overlay.qcow2
fails qcbm map --output=json overlay.qcow2
fails qcbm info --backing-chain overlay.qcow2
fails qcbm measure -O qcow2 overlay.qcow2
