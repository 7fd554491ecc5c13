# refused.sh - each reason in its own words, and the image as it was
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 first
qcbm bitmap --disable --undo undo image.qcow2 b0
qemu-img create -q -f qcow2 other.qcow2 2M
refused() { fails unchanged "$1" qcbm undo "$@"; }
refused other.qcow2 undo
refused image.qcow2 first
refused image.qcow2 missing
fails qcbm undo missing.qcow2 undo
head -c 200 undo >short
refused image.qcow2 short
cp undo damaged
poke damaged 140 ff
refused image.qcow2 damaged
cp undo later
poke later 8 00000003
refused image.qcow2 later
qemu-io -c 'write -q 512k 64k' image.qcow2
refused image.qcow2 undo
cp first image.qcow2
poke image.qcow2 $(($(bitmap_directory) + 15)) 07
refused image.qcow2 undo
(
    cp first image.qcow2
    start_writer image.qcow2
    refused image.qcow2 undo
)
# a guest that QEMU let run twice, so that all but the bits came to lie where it had been
qemu-img create -q -f qcow2 guest.qcow2 8M
qemu-io -c 'write -q 0 8M' guest.qcow2
for name in b0 b1; do qemu-img bitmap --add guest.qcow2 $name; done
for at in 4 5 6; do qemu-io -c "write -q ${at}M 64k" guest.qcow2; done
qcbm bitmap --disable --undo again guest.qcow2 b1
for at in 1 2; do qemu-io -c "write -q ${at}M 64k" guest.qcow2; done
refused guest.qcow2 again
