# operations_in_order.sh - the operations of one call are done in their order, in one commit
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm bitmap --remove --add -g 4k --merge frozen --disable image.qcow2 b0
qcbm bitmap --add --disable --enable --disable image.qcow2 last_wins
qcbm bitmap --merge b0 --clear image.qcow2 frozen
qcbm bitmap --add image.qcow2 --merge b0 copy -g512
qcbm bitmap --list image.qcow2
qemu-img check -q image.qcow2
