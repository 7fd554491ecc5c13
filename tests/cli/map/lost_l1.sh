# lost_l1.sh - an L1 table that a cut of the file took away is told by map, measure, check; extents does not say "zeros"
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 40G
truncate -s $(($(peek image.qcow2 40 8) + 80)) image.qcow2
qemu-img map --output=json image.qcow2 | python3 -m json.tool >theirs
qcbm map --output=json image.qcow2 | as_qemu_img map json | python3 -m json.tool | diff theirs -
qemu-img measure -O qcow2 image.qcow2 >theirs
qcbm measure -O qcow2 image.qcow2 | diff theirs -
qcbm check -q image.qcow2
code=0
qcbm check -q --strict image.qcow2 2>/dev/null || code=$?
[ $code = 2 ]
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 top.qcow2 40G
qemu-img bitmap --add --disable top.qcow2 b
qcbm map top.qcow2 >/dev/null
! qcbm extents --with=zero top.qcow2 b
