#!/usr/bin/env bash
# Make the seeds of the fuzz targets with qemu-img: make_corpus.sh [FOLDER], by default corpus/ beside this script
# SPDX-License-Identifier: MIT
#
# Small images over the grid of shapes, at 512-byte clusters where the format allows it. The structures for targets without an image are taken out of the images.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/corpus}
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
rm -rf "$out/image"
mkdir -p "$out/image"

image() { # NAME OPTIONS SIZE [qemu-img create options]
    local name=$1 options=$2 size=$3
    shift 3
    qemu-img create -q -f qcow2 -o "$options" "$@" "$name" "$size"
}
write() { # NAME COMMAND...
    local name=$1 args=()
    shift
    for command; do args+=(-c "$command"); done
    qemu-io -f qcow2 "${args[@]}" "$name" >/dev/null
}
bitmap() { # NAME OPTIONS... BITMAP
    local name=$1
    shift
    qemu-img bitmap "${@:1:$#-1}" "$name" "${@:$#}"
}

c=cluster_size=512
image base "$c" 64k
write base "write 0 64k"

# versions, empty and filled, odd size
image v2 "$c,compat=0.10" 64k
write v2 "write 0 1k" "write 40k 512"
image v3 "$c" 64k
write v3 "write 0 2k" "write 40k 1k" "write -z 16k 1k" "discard 1k 512"
image empty "$c" 8k
image odd_size "$c" 33k
write odd_size "write 32k 1k"
image lazy "$c,lazy_refcounts=on" 16k
write lazy "write 0 1k"

# refcount widths
for bits in 1 2 4 8 32 64; do
    image "refcount_$bits" "$c,refcount_bits=$bits" 32k
    write "refcount_$bits" "write 0 1k"
done

# overlays: kinds of entries; names of backing files
image overlay "$c" 64k -b base -F qcow2
write overlay "write 0 1k" "write -c 8k 512" "write -z 16k 1k" "discard 20k 1k" "write 60k 512"
for name in json:{} nbd://host/x file:raw loop raw dir/raw fifo dir; do
    image "overlay_${name//[^a-z]/_}" "$c" 16k -u -b "$name" -F raw
done
image overlay_no_format "$c" 16k -u -b base -F qcow2
qemu-img rebase -u -f qcow2 -b raw overlay_no_format 2>/dev/null || true

# compressed clusters
head -c 4k /dev/zero >zeros
for type in zlib zstd; do
    qemu-img convert -c -f raw -O qcow2 -o "$c,compression_type=$type" base "compressed_$type"
done
image compressed_sub cluster_size=16k,extended_l2=on 64k
write compressed_sub "write -c 0 16k" "write 20k 512"

# subclusters need 16 KiB
image extended cluster_size=16k,extended_l2=on 64k
write extended "write 1k 1k" "write -z 20k 512" "write 32k 16k"
bitmap extended --add -g 4k b0

# data file
image data_file "$c,data_file=data.raw" 32k
write data_file "write 0 1k" "write 8k 1k"
image data_file_raw "$c,data_file=data2.raw,data_file_raw=on" 16k

# encryption; few iterations, and nothing but the header behind it
qemu-img create -q -f qcow2 --object secret,id=s,data=x -o \
    "$c,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10" luks 4k
# internal snapshots
image snapshots "$c,refcount_bits=8" 32k
write snapshots "write 0 1k"
qemu-img snapshot -c first snapshots
write snapshots "write 0 512" "write 4k 512"
qemu-img snapshot -c second snapshots
write snapshots "write 8k 512"

# bitmaps: granularities, states, with bits and without
image bitmaps "$c" 64k
write bitmaps "write 0 1k"
bitmap bitmaps --add -g 512 fine
bitmap bitmaps --add -g 4k coarse
bitmap bitmaps --add -g 64k --disable off
write bitmaps "write 10k 1k" "write 63k 1k"
image bitmap_full "$c" 2M
bitmap bitmap_full --add -g 512 b
write bitmap_full "write -z 0 2M"
image bitmaps_of_all "$c" 64k -b base -F qcow2
write bitmaps_of_all "write 0 1k"
bitmap bitmaps_of_all --add b0
qemu-img snapshot -c s bitmaps_of_all
cp bitmaps in_use
(qemu-io -f qcow2 -c "write 1k 512" -c abort in_use || true) >/dev/null 2>&1 # as after a crash

# clusters of 4 KiB: longer L2 tables and refcount blocks
image larger cluster_size=4k 1M
write larger "write 0 8k" "write 512k 4k"
bitmap larger --add -g 512 b

# headers with room, without bitmaps: where the extension goes depends on the name of the backing file
image room cluster_size=4k 64k
for size in 1k 4k; do
    image "overlay_$size" "cluster_size=$size" 64k -b base -F qcow2
    write "overlay_$size" "write 0 4k"
done

# a foreign extension and the padding that qcbm leaves; then all images
python3 - "$out/image" <<'PY'
import os, struct, sys
out = sys.argv[1]
skip = {"base", "zeros", "data.raw", "data2.raw"}
def ext_end(d):
    at = struct.unpack_from(">I", d, 100)[0]
    while struct.unpack_from(">I", d, at)[0]:
        at += 8 + (struct.unpack_from(">I", d, at + 4)[0] + 7) // 8 * 8
    return at
for name in sorted(os.listdir(".")):
    if name in skip or not os.path.isfile(name):
        continue
    d = bytearray(open(name, "rb").read())
    cs = 1 << struct.unpack_from(">I", d, 20)[0]
    if name == "luks":
        d = d[:16 * 1024] # the rest is key material, 2 MiB of it
    open(os.path.join(out, name), "wb").write(d)
    if name == "v3": # cut inside the first cluster
        open(os.path.join(out, name + "_cut"), "wb").write(d[:400])
    if name in ("v3", "bitmaps"):
        at = ext_end(d)
        if at + 24 <= cs:
            struct.pack_into(">IIQI", d, at, 0x12345678, 8, 0x0102030405060708, 0)
            open(os.path.join(out, name + "_foreign"), "wb").write(d)
            if at + 48 <= cs: # and a tag
                struct.pack_into(">II16sQ", d, at + 16, 0x71635447, 16, bytes(range(16)), 0)
                open(os.path.join(out, name + "_tag"), "wb").write(d)
PY
python3 "$here/make_parts.py" "$out"
