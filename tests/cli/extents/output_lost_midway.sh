# output_lost_midway.sh - a write error in a long output ends the walk
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 1G
qemu-img bitmap --add -g 4k image.qcow2 b0
for ((i = 0; i < 4000; i++)); do
    printf 'write -q -z %d 4k\n' $((i * 8192))
done >writes
qemu-io image.qcow2 <writes >/dev/null
[ "$(qcbm extents image.qcow2 b0 | wc -l)" -eq 8000 ] || complain 'another number of extents'
qcbm extents image.qcow2 b0 >/dev/full && complain 'succeeded'
true
