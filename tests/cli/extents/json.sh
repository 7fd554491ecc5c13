# json.sh - as nbdinfo --json prints it
# SPDX-License-Identifier: MIT
make_image
qcbm extents --output=json image.qcow2 b0
