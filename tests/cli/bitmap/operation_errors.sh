# operation_errors.sh - each operation fails with the words of qemu-img
# SPDX-License-Identifier: MIT
prepare() { fixture one-bitmaps; }
WORDS="s/Could not open '\([^']*\)': Could not open '[^']*': /Could not open '\1': /"
for operation in --remove --clear --enable --disable '--merge b0'; do
    # shellcheck disable=SC2086
    same_as_qemu_img bitmap $operation image.qcow2 missing
done
same_as_qemu_img bitmap --merge missing image.qcow2 b0
same_as_qemu_img bitmap --add image.qcow2 b0
same_as_qemu_img bitmap --add image.qcow2 ''
same_as_qemu_img bitmap --add -g 1000 image.qcow2 new
same_as_qemu_img bitmap --add -g 256 image.qcow2 new
same_as_qemu_img bitmap --add missing.qcow2 b0
same_as_qemu_img bitmap --merge b0 -b missing.qcow2 image.qcow2 b0
WORDS="s/Can't make bitmap '\([^']*\)' persistent in '[^']*': //"
same_as_qemu_img bitmap --add image.qcow2 "$(printf '%01024d' 0)"
