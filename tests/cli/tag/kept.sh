# kept.sh - QEMU keeps a tag in all that it does to an image, and gives none to what it writes anew; so does qcbm
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img create -q -f qcow2 -b overlay.qcow2 -F qcow2 top.qcow2
has() { [ "$(qcbm info "$1" | sed -n 's/^tag: //p')" = "$2" ] || complain "$1 $3"; }
tag=00112233445566778899aabbccddeeff
qcbm tag -q --set=$tag overlay.qcow2
qcbm synth -q overlay.qcow2 new
has overlay.qcow2 $tag "synth"
qemu-img bitmap --add overlay.qcow2 qemu
qemu-img bitmap --remove overlay.qcow2 new
has overlay.qcow2 $tag "bitmap"
qemu-img amend -f qcow2 -o lazy_refcounts=on overlay.qcow2
has overlay.qcow2 $tag "amend"
qemu-img rebase -u -f qcow2 -b "$PWD/base.qcow2" -F qcow2 overlay.qcow2
has overlay.qcow2 $tag "rebase"
qemu-img snapshot -c s overlay.qcow2
qemu-img snapshot -d s overlay.qcow2
qemu-img resize -q overlay.qcow2 +1M
has overlay.qcow2 $tag "resize"
qemu-io -f qcow2 -c 'write 1M 64k' overlay.qcow2 >/dev/null
has overlay.qcow2 $tag "a guest"
qcbm bitmap --remove overlay.qcow2 qemu
has overlay.qcow2 $tag "the last bitmap removed"
qcbm check -q -r all overlay.qcow2 >/dev/null
has overlay.qcow2 $tag "check -r"
qemu-img check -q overlay.qcow2
qcbm check --untrusted overlay.qcow2 | grep -q unknown-extension && complain "--untrusted takes it for a foreign one"
qcbm dump overlay.qcow2 extensions | grep -q ' tag\[' || complain "dump"
qcbm rescue -q overlay.qcow2 -o rescued.qcow2 >/dev/null
has rescued.qcow2 $tag "rescue: it takes the place of the damaged one"
# anew
qemu-img convert -O qcow2 overlay.qcow2 converted.qcow2
qcbm delta -q --layer overlay.qcow2 delta.qcow2 >/dev/null
for file in top.qcow2 converted.qcow2 delta.qcow2; do has $file '' "has a tag"; done
qcbm apply -q -o applied base.qcow2 delta.qcow2 >/dev/null
# a delta applied in place
cp base.qcow2 disk.qcow2
qcbm tag -q --set=$tag disk.qcow2
qcbm apply -q --in-place --force-parent disk.qcow2 delta.qcow2 >/dev/null
has disk.qcow2 $tag "apply --in-place"
