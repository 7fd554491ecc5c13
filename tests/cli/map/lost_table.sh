# lost_table.sh - an L2 table past the end of the file is told, the rows are those of qemu-img
# SPDX-License-Identifier: MIT
fixture one-bitmaps
poke image.qcow2 $(($(peek image.qcow2 40 8) + 3)) 7f000000
qemu-img map --output=json image.qcow2 | python3 -m json.tool >theirs
qcbm map --output=json image.qcow2 | as_qemu_img map json | python3 -m json.tool | diff theirs -
