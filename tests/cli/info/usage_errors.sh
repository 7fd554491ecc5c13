# usage_errors.sh - wrong use is told as qemu-img tells it
# SPDX-License-Identifier: MIT
prepare() { fixture one-bitmaps; }
same_as_qemu_img info
same_as_qemu_img info a b
same_as_qemu_img info --output=xml image.qcow2
same_as_qemu_img info -f
same_as_qemu_img info --frob image.qcow2
same_as_qemu_img info -q image.qcow2
same_as_qemu_img info --output
same_as_qemu_img info --image-opts -f qcow2 driver=qcow2,file.filename=image.qcow2
