#!/usr/bin/env bash
# Images in which the bitmaps extension or the refcounts are hard to change: shapes.sh FOLDER
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"

write() { # NAME COMMAND...
    local name=$1 args=()
    shift
    for command; do args+=(-c "$command"); done
    qemu-io -f qcow2 "${args[@]}" "$name" >/dev/null
}
create() { # NAME OPTIONS SIZE [BACKING]
    qemu-img create -q -f qcow2 -o "$2" ${4:+-b "$4" -F qcow2} "$1" "$3"
}
bitmap() { # NAME BITMAP COMMAND: a bitmap with bits
    qemu-img bitmap --add -g 512 "$1" "$2"
    write "$1" "$3"
}

# A disk of 16 MiB with something in each 2 MiB: its bitmap at granularity 512 has bits in each of its eight sectors.
scatter() { # NAME
    write "$1" "write 3k 2k" "write 2050k 1k" "write 4100k 512" "write 6200k 3k" "write 9m 1k" "write 11m 512" \
        "write 13m 1k" "write 15m 5k"
}

create base.qcow2 cluster_size=512 16M
scatter base.qcow2
long=$(printf './%.0s' {1..70})base.qcow2

for cluster in 512 1024 4096 65536; do
    create "first-$cluster.qcow2" "cluster_size=$cluster" 16M
    scatter "first-$cluster.qcow2"
    create "backed-$cluster.qcow2" "cluster_size=$cluster" 16M base.qcow2
    scatter "backed-$cluster.qcow2"
    create "longname-$cluster.qcow2" "cluster_size=$cluster" 16M "$long"
    create "two-$cluster.qcow2" "cluster_size=$cluster" 16M base.qcow2
    bitmap "two-$cluster.qcow2" b0 "write 8k 3k"
    scatter "two-$cluster.qcow2"
    bitmap "two-$cluster.qcow2" b1 "write 20k 512"
    scatter "two-$cluster.qcow2"
done

create eight.qcow2 cluster_size=4096 16M
for i in 0 1 2 3 4 5 6; do bitmap eight.qcow2 "b$i" "write $((i * 64))k 5k"; done
qemu-img bitmap --add --disable eight.qcow2 off
scatter eight.qcow2

# A directory of three clusters, with the named bitmaps in the first and the last.
create directory.qcow2 cluster_size=512 16M
bitmap directory.qcow2 b0 "write 0 5k"
for i in 2 3 4 5 6 7 8 9; do qemu-img bitmap --add -g 512 directory.qcow2 "b$i-$(printf 'n%.0s' {1..120})"; done
qemu-img bitmap --add --disable directory.qcow2 off
bitmap directory.qcow2 b1 "write 30k 5k"
scatter directory.qcow2

# Six flags that lie within 512 bytes, but in two sectors; those of the first four are clear.
create flags.qcow2 cluster_size=4096 16M
for i in 0 1 2 3; do
    qemu-img bitmap --add --disable -g 512 flags.qcow2 "off$i-$(printf 'n%.0s' {1..90})"
done
bitmap flags.qcow2 b0 "write 0 5k"
bitmap flags.qcow2 b1 "write 8k 5k"
scatter flags.qcow2

# Three layers.
create mid.qcow2 cluster_size=4096 16M base.qcow2
write mid.qcow2 "write 12k 3k"
create chain.qcow2 cluster_size=4096 16M mid.qcow2
bitmap chain.qcow2 b0 "write 20k 1k"
scatter chain.qcow2

# The file ends inside its last cluster: behind the last directory that QEMU wrote, and within a cluster of the guest.
create short.qcow2 cluster_size=4096 16M base.qcow2
bitmap short.qcow2 b0 "write 9k 1k"
qemu-img bitmap --add --disable short.qcow2 off
scatter short.qcow2
create short-data.qcow2 cluster_size=4096 16M
write short-data.qcow2 "write 8k 1k"
truncate -s -3000 short-data.qcow2
create compressed.qcow2 cluster_size=4096 16M
bitmap compressed.qcow2 b0 "write -c 8k 4k"
write compressed.qcow2 "write -c 16k 4k"
scatter compressed.qcow2

# Narrow and wide refcounts.
for bits in 1 2 32 64; do
    create "refcount-$bits.qcow2" "cluster_size=512,refcount_bits=$bits" 16M base.qcow2
    bitmap "refcount-$bits.qcow2" b0 "write 1k 1k"
    scatter "refcount-$bits.qcow2"
done
# A refcount block covers 32 KiB here, the table 2 MiB: a bitmap of 33 clusters needs a new block, or a new table.
spread=()
for i in $(seq 0 31); do spread+=("write $((i * 2))M 512"); done
create block.qcow2 cluster_size=512,refcount_bits=64 64M
write block.qcow2 "${spread[@]}"
create table.qcow2 cluster_size=512,refcount_bits=64 64M
write table.qcow2 "${spread[@]}" "write 20M 1930k"

# A table of two sectors and more, and a file that ends close below 2 MiB: blocks 63 and 64, whose entries lie in two
# sectors, are new at once. QEMU makes a long table for a long file, and keeps it when that shrinks.
wide=()
for i in $(seq 0 99); do wide+=("write $((i * 2))M 512"); done
create sectors.qcow2 cluster_size=512,refcount_bits=64 400M
write sectors.qcow2 "${wide[@]}"
write sectors.qcow2 "write 300M 1900k"
qemu-img resize -q --shrink -f qcow2 sectors.qcow2 200M
write sectors.qcow2 "write 150M 1744k"

# Single free clusters in front, and a table that needs four in a row behind the end: the new refcount block goes into a
# hole, so that an old block counts it.
holes=()
for i in $(seq 0 25); do holes+=("write $((i * 512)) 512"); done
create hole.qcow2 cluster_size=512,refcount_bits=64 4G
qemu-io -f qcow2 -d unmap "${holes[@]/#/-c}" -c "discard 512 512" -c "discard 1536 512" -c "discard 2560 512" \
    hole.qcow2 >/dev/null

# The payload of the extension crosses a sector: 480 bytes of data file name, or foreign extensions in front.
create straddle.qcow2 "cluster_size=65536,data_file=$(printf './%.0s' {1..240})d.raw" 16M
qemu-img bitmap --add -g 512 straddle.qcow2 b0
scatter straddle.qcow2
create foreign.qcow2 cluster_size=65536 16M base.qcow2
scatter foreign.qcow2
"$here/inject_extension.py" foreign.qcow2 21
create front.qcow2 cluster_size=4096 16M base.qcow2
qemu-img bitmap --add -g 512 front.qcow2 b0
scatter front.qcow2
"$here/inject_extension.py" front.qcow2 352 front
create behind.qcow2 cluster_size=65536 16M base.qcow2
bitmap behind.qcow2 b0 "write 1k 1k"
qemu-img bitmap --add --disable behind.qcow2 off
scatter behind.qcow2
"$here/inject_extension.py" behind.qcow2 40

create subclusters.qcow2 cluster_size=16k,extended_l2=on 16M base.qcow2
bitmap subclusters.qcow2 b0 "write 1k 1k"
scatter subclusters.qcow2
create snapshots.qcow2 cluster_size=512,refcount_bits=8 16M
bitmap snapshots.qcow2 b0 "write 0 1k"
scatter snapshots.qcow2
qemu-img snapshot -c first snapshots.qcow2
write snapshots.qcow2 "write 0 512"

# Bitmaps that a program without knowledge of them made stale: what is given up with them is freed last.
create stale.qcow2 cluster_size=4096 16M base.qcow2
bitmap stale.qcow2 old0 "write 8k 1k"
bitmap stale.qcow2 old1 "write 12k 1k"
scatter stale.qcow2
printf '\0\0\0\0\0\0\0\0' | dd of=stale.qcow2 bs=1 seek=88 conv=notrunc status=none

# External data files, one of them raw.
create data.qcow2 cluster_size=4096,data_file=data.raw 16M
bitmap data.qcow2 b0 "write 8k 1k"
scatter data.qcow2
create raw.qcow2 cluster_size=4096,data_file=raw.raw,data_file_raw=on 16M
qemu-img bitmap --add -g 512 raw.qcow2 b0

# What to work on; the others are backing files.
for name in *.qcow2; do [ "$name" = base.qcow2 ] || [ "$name" = mid.qcow2 ] || echo "$name"; done >list
