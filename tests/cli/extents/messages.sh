# messages.sh - messages for the snapshot metadata service have 1024 extents at most
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 disk 4M
head -c 1024 /dev/zero | tr '\0' 'U' >bits
qcbm bitmap --import bits --format=raw -g 512 -q disk b
json '[len(m["block_metadata"]) for m in v] == [1024, 1024, 1024, 1024]' qcbm extents --output=csi disk b
json 'len(v) == 1 and len(v[0]["block_metadata"]) == 1024' qcbm extents --output=csi --limit=1024 disk b
json '[len(m["block_metadata"]) for m in v] == [1024, 1]' qcbm extents --output=csi --limit=1025 disk b
[ "$(qcbm extents --output=csi-lines disk b | wc -l)" -eq 4 ]
