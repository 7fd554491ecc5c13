# refused.sh - what is no tag, an image that cannot have one, and one without room are refused, and stay as they are
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 -o compat=0.10 two.qcow2 1M
for set in 0011 00112233445566778899aabbccddeefg ''; do
    unchanged a.qcow2 fails qcbm tag --set="$set" a.qcow2
done
for words in 'tag --new --remove a.qcow2' 'tag --set=00112233445566778899aabbccddeeff --new a.qcow2' 'tag' \
    'synth --tag --into a.qcow2 a.qcow2 b' 'synth --tag --like=a.qcow2 a.qcow2'; do
    # shellcheck disable=SC2086
    ! unchanged a.qcow2 qcbm $words 2>/dev/null || complain "accepted: $words"
done
unchanged two.qcow2 fails qcbm tag two.qcow2
fails qcbm tag nosuch
# a header that is full: neither the tag nor the bitmap
qemu-img create -q -f qcow2 -o cluster_size=512 full.qcow2 1M
name=$(printf 'n%.0s' $(seq 360))
qemu-img rebase -u -f qcow2 -b "$name" -F raw full.qcow2
unchanged full.qcow2 fails qcbm tag full.qcow2
unchanged full.qcow2 fails qcbm synth --tag full.qcow2 b
# room for a bitmap, and for none with a tag
qemu-img rebase -u -f qcow2 -b "${name:0:330}" -F raw full.qcow2
unchanged full.qcow2 fails qcbm synth --tag full.qcow2 b
qcbm synth -q full.qcow2 b
# what another program uses
start_writer a.qcow2
unchanged a.qcow2 fails qcbm tag a.qcow2
