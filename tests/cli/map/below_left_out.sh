# below_left_out.sh - a layer that --below leaves out, though the image names it and it is here, is told
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base 1M
qemu-img create -q -f qcow2 -b base -F qcow2 mid
qemu-img create -q -f qcow2 -b mid -F qcow2 upper
qemu-img create -q -f qcow2 -b upper -F qcow2 top
cp base copy
ln -s mid link
# layers where they are, by whatever name: nothing to say
qcbm map --below upper --below "$PWD/link" --below base top >/dev/null
# the second is left out; the base is a copy beside the one that is named
qcbm map --below upper --below base top >/dev/null
qcbm synth --dry-run -q --since base --below base top b
qcbm map --below upper --below mid --below copy top >/dev/null
# a name that leads nowhere here is what the option is for
mv mid away
qcbm map --below upper --below away --below base top >/dev/null
# where the layers are not needed, none is opened that the images name
qemu-img create -q -f qcow2 -b base -F qcow2 other
ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=open,openat -o trace qcbm info --no-sandbox --below other top >/dev/null
! grep '"base"' trace || complain "it has opened what a layer names"
