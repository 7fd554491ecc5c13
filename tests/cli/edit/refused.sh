# refused.sh - what would make it worse, by name; several sectors without undo file; wrong use
# SPDX-License-Identifier: MIT
fixture one-bitmaps
run() { fails unchanged image.qcow2 qcbm edit "$@"; }
run image.qcow2 'header magic: 0x514649fb=0'
run image.qcow2 'refcount 0: 1=0'
run image.qcow2 'bitmap 0 type: 1=2'
run image.qcow2 'bitmap 0 type: 1=1' 'bitmap 0 type: 1=1'
run image.qcow2 'bitmap nix type: 1=1'
run image.qcow2 'frob 0: 1=1'
run image.qcow2 'refcount 30: 0=1' 'header size: 0x100000=0x100200'
run --force image.qcow2 'refcount 0: 77=2'
touch undo
run --force --undo=undo image.qcow2 'refcount 0: 1=2'
start_writer image.qcow2
run --force image.qcow2 'refcount 0: 1=2'
