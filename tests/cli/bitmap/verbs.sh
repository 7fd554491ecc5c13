# verbs.sh - what is told of each operation that qemu-img lacks; those that it has stay silent
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm bitmap --set 0:1 --disable --enable --unset 128k:32k image.qcow2 b0
qcbm bitmap --regranularise 4k --unset 128k:32k --intersect frozen --set 1000k:24k image.qcow2 b0
qcbm bitmap --add --merge b0 --subtract b0 image.qcow2 other
qcbm bitmap --rename checkpoint --rotate next --clear image.qcow2 b0
qcbm bitmap --quiet --rename 'a b' image.qcow2 next
qcbm bitmap --unset 0:1M --rename c --dry-run image.qcow2 'a b' >dry
head -n 2 dry
grep -q '^plan: ' dry || complain 'no plan'
qemu-img info image.qcow2 | grep -E 'name:|granularity:|flags:|auto'
qemu-img check -q image.qcow2
