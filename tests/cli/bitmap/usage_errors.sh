# usage_errors.sh - wrong use is told as qemu-img tells it, in its order of checks
# SPDX-License-Identifier: MIT
prepare() { :; }
same_as_qemu_img bitmap
same_as_qemu_img bitmap a
same_as_qemu_img bitmap a b
same_as_qemu_img bitmap a b c
same_as_qemu_img bitmap --add
same_as_qemu_img bitmap --add a
same_as_qemu_img bitmap --add a b c
same_as_qemu_img bitmap --remove -g 4k a
same_as_qemu_img bitmap --remove -g 4k -F raw a b
same_as_qemu_img bitmap --remove -F raw -b x a b
same_as_qemu_img bitmap --remove -F raw a b
same_as_qemu_img bitmap --add -F raw a
same_as_qemu_img bitmap --add -b x a
same_as_qemu_img bitmap -g 4k -b x -F raw a b
same_as_qemu_img bitmap --nope a b
WORDS="s/: option '--add' doesn't allow an argument/: unrecognized option '--add=3'/"
same_as_qemu_img bitmap --add=3 a b
same_as_qemu_img bitmap -g
same_as_qemu_img bitmap --granularity
same_as_qemu_img bitmap --merge
same_as_qemu_img bitmap --add a b -b
same_as_qemu_img bitmap -Z a b
WORDS="s/Could not open '-g': Could not open '-g'/Could not open '-g'/"
same_as_qemu_img bitmap --add -- -g 4k
