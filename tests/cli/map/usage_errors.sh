# usage_errors.sh - wrong use is told as qemu-img tells it
# SPDX-License-Identifier: MIT
prepare() { fixture one-bitmaps; }
same_as_qemu_img map
same_as_qemu_img map a b
same_as_qemu_img map -s x image.qcow2
same_as_qemu_img map --max-length 9E image.qcow2
same_as_qemu_img map --output=xml image.qcow2
same_as_qemu_img map -q image.qcow2
