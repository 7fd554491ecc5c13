# list.sh - as qemu-img lists them
# SPDX-License-Identifier: MIT
prepare() { fixture one-bitmaps; }
same_as_qemu_img snapshot -l image.qcow2
same_as_qemu_img snapshot -l
same_as_qemu_img snapshot -l missing a
same_as_qemu_img snapshot -l --frob image.qcow2
fixture one-bitmaps
rm -r theirs
qemu-img snapshot -c one image.qcow2
qemu-img snapshot -l image.qcow2 >theirs
unchanged image.qcow2 qcbm snapshot -q -U -f qcow2 -l image.qcow2 | as_qemu_img snapshot | diff theirs -
