# bit_order.sh - raw bits with the highest of a byte first, in and out; it is said which order was taken
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 4032k
python3 -c '
b = bytearray(8)
for i in 0, 3, 16, 17, 62:
    b[i // 8] |= 0x80 >> i % 8
open("msb", "wb").write(bytes(b))
open("lsb", "wb").write(bytes(int(format(x, "08b")[::-1], 2) for x in b))'
qcbm bitmap --import msb --format=raw --bit-order=msb -g 64k image.qcow2 high
qcbm bitmap --import lsb --format=raw --bit-order=lsb -g 64k image.qcow2 low
qcbm bitmap --import lsb --format=raw -g 64k image.qcow2 default
qcbm extents --output=json image.qcow2 high >high.json
json 'sum([list(range(e["offset"] // 65536, (e["offset"] + e["length"]) // 65536)) for e in v if e["type"] & 1], [])
    == [0, 3, 16, 17, 62]' cat high.json
for name in low default; do qcbm extents --output=json image.qcow2 $name | cmp - high.json; done
json 'v["results"][0]["bit-order"] == "msb"' qcbm bitmap --import msb --format=raw --bit-order=msb -g 64k --dry-run \
    --output=json image.qcow2 new
for order in lsb msb; do
    qcbm bitmap --export out --force --format=raw --bit-order=$order image.qcow2 high
    cmp out $order
done
json 'v["bit-order"] == "lsb"' qcbm bitmap --export out --force --format=raw --output=json image.qcow2 high
# a bit behind the end of the disk, the lowest of the last byte here
printf '\0\0\0\0\0\0\0\1' >behind
fails unchanged image.qcow2 qcbm bitmap --import behind --format=raw --bit-order=msb -g 64k image.qcow2 new
for words in '--format=raw --bit-order=high' '--bit-order=msb' '--format=json --bit-order=lsb'; do
    # shellcheck disable=SC2086
    qcbm bitmap --import msb $words -g 64k image.qcow2 new 2>&1 | head -n 1
done
