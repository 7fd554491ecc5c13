#!/usr/bin/env bash
# Small images of many kinds for the hostile tests, made by qemu-img: fixtures.sh FOLDER
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$1"

image() { # NAME OPTIONS SIZE
    qemu-img create -q -f qcow2 -o "$2" "$1" "$3"
}
write() { # NAME COMMAND...
    local name=$1 args=()
    shift
    for command; do args+=(-c "$command"); done
    qemu-io -f qcow2 "${args[@]}" "$name" >/dev/null
}

image plain.qcow2 cluster_size=512 64k
write plain.qcow2 "write 0 2k" "write 40k 1k"
qemu-img bitmap --add -g 512 plain.qcow2 b0
qemu-img bitmap --add -g 4k plain.qcow2 b1
qemu-img bitmap --disable plain.qcow2 b1
write plain.qcow2 "write 10k 1k"

image base.qcow2 cluster_size=512 64k
write base.qcow2 "write 0 64k"

qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=1 -b base.qcow2 -F qcow2 overlay.qcow2
write overlay.qcow2 "write 0 1k" "write -c 8k 512" "write -z 16k 1k" "discard 20k 1k"
qemu-img bitmap --add -g 512 overlay.qcow2 b0

image snapshots.qcow2 cluster_size=512,refcount_bits=8 32k
write snapshots.qcow2 "write 0 1k"
qemu-img snapshot -c first snapshots.qcow2
write snapshots.qcow2 "write 0 512"
qemu-img bitmap --add -g 512 snapshots.qcow2 b0
qemu-img snapshot -c second snapshots.qcow2

image extended.qcow2 cluster_size=16k,extended_l2=on 64k
write extended.qcow2 "write 1k 1k" "write 20k 512"
qemu-img bitmap --add extended.qcow2 b0

image datafile.qcow2 cluster_size=512,data_file=datafile.raw 32k
write datafile.qcow2 "write 0 1k" "write 8k 1k"

image version2.qcow2 cluster_size=512,compat=0.10 32k
write version2.qcow2 "write 0 1k"
