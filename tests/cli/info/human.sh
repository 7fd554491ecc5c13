# human.sh - as qemu-img info, and names that could play with the terminal are escaped
# SPDX-License-Identifier: MIT
prepare() {
    fixture ten-overlay
    mkdir dir
    mv overlay.qcow2 dir
}
same_as_qemu_img info dir/overlay.qcow2
(cd ours && as_qemu_img info) <ours.out | diff theirs.out -
qemu-img create -q -u -f qcow2 -b "$(printf 'a\033[31m\nb\\c\xff\xe2\x80\xaed\xc3\xa9')" -F raw image.qcow2 1M
qcbm info image.qcow2 | grep backing
qcbm info --output=json image.qcow2 | grep '"backing-filename"'
qemu-img info --output=json image.qcow2 | grep '"backing-filename"'
