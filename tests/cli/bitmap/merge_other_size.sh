# merge_other_size.sh - images of different sizes cannot be merged
# SPDX-License-Identifier: MIT
prepare() {
    fixture one-bitmaps
    qemu-img create -q -f qcow2 other.qcow2 2M
    qemu-img bitmap --add other.qcow2 b0
}
same_as_qemu_img bitmap --merge b0 -b image.qcow2 -F qcow2 other.qcow2 b0
