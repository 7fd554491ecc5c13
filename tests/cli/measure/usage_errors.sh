# usage_errors.sh - wrong use is told as qemu-img tells it
# SPDX-License-Identifier: MIT
prepare() { fixture one-bitmaps; }
same_as_qemu_img measure
same_as_qemu_img measure a b
same_as_qemu_img measure --size 1G image.qcow2
same_as_qemu_img measure -f qcow2 --size 1G
same_as_qemu_img measure -O nothing image.qcow2
same_as_qemu_img measure --size x
same_as_qemu_img measure --size 7E -O qcow2
fixture one-bitmaps
fails qcbm measure -O qcow2 -o frob=1 image.qcow2
fails qcbm measure -l one image.qcow2
