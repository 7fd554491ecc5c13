# into.sh - gives the bitmap to another image; the overlay by another name is the overlay
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img create -q -f qcow2 copy.qcow2 10M
unchanged overlay.qcow2 qcbm synth -q --into copy.qcow2 overlay.qcow2 b0
qcbm extents copy.qcow2 b0
ln -s overlay.qcow2 link.qcow2
qcbm synth -q --into ./link.qcow2 overlay.qcow2 own
qcbm bitmap --list --output=json overlay.qcow2 | grep '"name"'
json 'v["image"] == "copy.qcow2" and v["overlay"] == "overlay.qcow2"' \
    unchanged copy.qcow2 qcbm synth --dry-run --into copy.qcow2 --output=json overlay.qcow2 b1
