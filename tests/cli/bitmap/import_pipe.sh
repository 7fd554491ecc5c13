# import_pipe.sh - what comes through a pipe is read before the image is locked, so it may come from that image itself; a
# pipe has a limit, a file has none
# SPDX-License-Identifier: MIT
set -o pipefail
fixture one-bitmaps
for n in $(seq 10); do
    qcbm bitmap --export - image.qcow2 b0 | qcbm bitmap --import - --quiet image.qcow2 "own$n"
    qcbm extents --output=json image.qcow2 b0 | qcbm bitmap --import - --format=json --quiet image.qcow2 "json$n"
done
mkfifo fifo
qcbm bitmap --export fifo --format=raw image.qcow2 b0 >/dev/null &
qcbm bitmap --import fifo --format=raw -g 64k --quiet image.qcow2 raw
wait
qcbm extents image.qcow2 b0 >want
for name in own10 json10 raw; do qcbm extents image.qcow2 "$name" | cmp - want; done
# white space without end is a list that has not begun
blanks() { head -c "$1" /dev/zero | tr '\0' ' '; }
blanks 70M >list
qcbm extents --output=json image.qcow2 b0 >>list
qcbm bitmap --import list --format=json --quiet image.qcow2 long
piped() { blanks 70M | qcbm bitmap --import - --format=json image.qcow2 new; }
fails unchanged image.qcow2 piped
qemu-img check -q image.qcow2
