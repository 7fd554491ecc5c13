# lost_table.sh - an L2 table past the end of the file is told, the rows are those of qemu-img
# SPDX-License-Identifier: MIT
make_image
poke image.qcow2 $(($(peek image.qcow2 40 8) + 3)) 7f000000
qemu-img map --output=json image.qcow2 >theirs
qcbm map --output=json image.qcow2 | diff theirs -
