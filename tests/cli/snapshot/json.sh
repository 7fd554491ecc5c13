# json.sh - the objects that qemu-img info has; an empty array where there are none
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm snapshot -l --output=json image.qcow2
qemu-img create -q -f raw disk.raw 64k
qcbm snapshot -l -f raw --output=json disk.raw
qemu-img snapshot -c one image.qcow2
qemu-img snapshot -c two image.qcow2
qemu-img info --output=json image.qcow2 >theirs
json 'v == json.load(open("theirs"))["snapshots"] and len(v) == 2' qcbm snapshot -l --output=json image.qcow2
