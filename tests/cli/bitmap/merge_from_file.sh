# merge_from_file.sh - -b takes the source from another image, or from the same one by another name
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qemu-img create -q -f qcow2 other.qcow2 1M
qcbm bitmap --add -g 128k --merge b0 -b image.qcow2 -F qcow2 other.qcow2 taken
qcbm extents other.qcow2 taken
qcbm bitmap --merge b0 -b ./image.qcow2 image.qcow2 frozen
qcbm extents image.qcow2 frozen
