# damaged_bitmaps.sh - a bad bitmap, with which qemu-img opens nothing, is a warning
# SPDX-License-Identifier: MIT
fixture one-bitmaps
at=$(bitmap_directory)
poke image.qcow2 $((at + 17)) 63
qemu-img info image.qcow2 2>/dev/null && complain 'qemu-img opens it'
qcbm info image.qcow2 | grep ' name'
