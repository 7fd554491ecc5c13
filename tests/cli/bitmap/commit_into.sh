# commit_into.sh - the bitmaps' half of a commit: what is told of each bitmap
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 2M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-img bitmap --add base.qcow2 both
qemu-img bitmap --add --disable base.qcow2 frozen
qemu-img bitmap --add base.qcow2 old
for name in both frozen young; do qemu-img bitmap --add -g 4k top.qcow2 "$name"; done
qemu-io -c 'write -q 1M 4k' top.qcow2
unchanged base.qcow2 qcbm bitmap --commit-into base.qcow2 --dry-run --quiet top.qcow2 2>/dev/null
unchanged top.qcow2 qcbm bitmap --commit-into base.qcow2 --undo undo top.qcow2 | sort
qcbm extents base.qcow2 young
fails unchanged base.qcow2 qcbm bitmap --commit-into top.qcow2 top.qcow2
qcbm undo base.qcow2 undo
