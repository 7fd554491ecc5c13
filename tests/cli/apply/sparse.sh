# sparse.sh - clusters of zeros that the base has as data take no room in the new image, wherever they lie
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 16M
qemu-io -f qcow2 -c 'write -P 5 1M 64k' -c 'write -P 0 1088k 512k' -c 'write -P 6 1600k 64k' base.qcow2 >/dev/null
cp base.qcow2 disk.qcow2
qemu-img bitmap --add disk.qcow2 b
qemu-io -f qcow2 -c 'write -P 7 8M 64k' disk.qcow2 >/dev/null
qcbm delta -q --bitmap b disk.qcow2 d
qcbm apply -q -o new.qcow2 base.qcow2 d
qemu-img compare -q new.qcow2 disk.qcow2
qcbm extents --layer new.qcow2 | grep dirty
