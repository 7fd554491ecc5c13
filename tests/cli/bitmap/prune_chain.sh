# prune_chain.sh - the last N of a whole chain stay; each layer has its own undo file
# SPDX-License-Identifier: MIT
qemu-img create -q -f raw raw.img 1M
qemu-img create -q -f qcow2 -b raw.img -F raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
for name in b-1 b-2 other; do qemu-img bitmap --add base.qcow2 "$name"; done
for name in b-2 b-10; do qemu-img bitmap --add top.qcow2 "$name"; done
unchanged base.qcow2 unchanged top.qcow2 qcbm bitmap --prune 'b-*' --keep 1 --chain --dry-run top.qcow2 |
    grep -v '^  stage\|^plan'
qcbm bitmap --prune 'b-*' --keep 1 --chain --undo undo top.qcow2
qcbm bitmap --list --chain top.qcow2
qcbm bitmap --prune 'b-*' --keep 1 --chain top.qcow2
qcbm undo --quiet top.qcow2 undo
qcbm undo --quiet base.qcow2 undo.1
qcbm bitmap --list --chain top.qcow2
rm raw.img
fails unchanged top.qcow2 qcbm bitmap --prune 'b-*' --chain top.qcow2
