# list.sh - a line for each bitmap
# SPDX-License-Identifier: MIT
fixture one-bitmaps
unchanged image.qcow2 qcbm bitmap --list image.qcow2
qemu-img create -q -f qcow2 none.qcow2 1M
qcbm bitmap --list none.qcow2
