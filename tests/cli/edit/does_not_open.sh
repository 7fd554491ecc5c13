# does_not_open.sh - an image that QEMU takes for raw is set right; undo takes back what does not open
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 first
qcbm edit -q --force --undo=undo1 image.qcow2 'header magic: 0x514649fb=0' 'header cluster_bits: 16=77'
qcbm undo -q --dry-run image.qcow2 undo1
cp image.qcow2 broken
qcbm edit -q --undo=undo2 image.qcow2 'header cluster_bits: 77=16' 'header magic: 0=0x514649fb'
cmp image.qcow2 first
qcbm undo -q image.qcow2 undo2
cmp image.qcow2 broken
qcbm undo -q image.qcow2 undo1
cmp image.qcow2 first
printf 'no image, and not of any' >other
fails unchanged other qcbm undo other undo1
