# human.sh - columns as nbdinfo prints them
# SPDX-License-Identifier: MIT
make_image
unchanged image.qcow2 qcbm extents image.qcow2 b0
