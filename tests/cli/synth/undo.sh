# undo.sh - the image that gets the bitmap is the one that is recorded; a dry run records nothing
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img create -q -f qcow2 target.qcow2 10M
cp target.qcow2 first
qcbm synth -q --dry-run --undo none overlay.qcow2 b0
[ ! -e none ]
unchanged overlay.qcow2 qcbm synth -q --into target.qcow2 --undo one overlay.qcow2 b0
qcbm synth -q --replace -g 4k --undo two --into target.qcow2 overlay.qcow2 b0
fails unchanged overlay.qcow2 qcbm undo overlay.qcow2 one
qcbm undo -q target.qcow2 two
qcbm undo -q target.qcow2 one
cmp target.qcow2 first
