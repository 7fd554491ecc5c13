# with_zero.sh - four states
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qemu-io -c 'write -q -z 256k 64k' -c 'write -q 512k 64k' image.qcow2
qcbm bitmap --clear --disable image.qcow2 b0
qemu-io -c 'write -q 576k 64k' image.qcow2
qcbm bitmap --enable image.qcow2 b0
qemu-io -c 'write -q -z 256k 64k' -c 'write -q 128k 64k' image.qcow2
qcbm extents --with=zero image.qcow2 b0
json '[e["type"] for e in v] == [2, 1, 2, 3, 2, 0, 2] and v[3]["description"] == "dirty,zero"' \
    qcbm extents --with zero --output=json image.qcow2 b0
