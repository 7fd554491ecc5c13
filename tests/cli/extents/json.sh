# json.sh - as nbdinfo --json prints it
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm extents --output=json image.qcow2 b0
