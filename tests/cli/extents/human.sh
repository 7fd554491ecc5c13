# human.sh - columns as nbdinfo prints them
# SPDX-License-Identifier: MIT
fixture one-bitmaps
unchanged image.qcow2 qcbm extents image.qcow2 b0
