# collect.sh - the bitmaps of all layers of a chain in one of the top; what is told of each layer
# SPDX-License-Identifier: MIT
qemu-img create -q -f raw raw.img 1M
qemu-img create -q -f qcow2 -b raw.img -F raw base.qcow2 3M
qemu-img bitmap --add -g 4k base.qcow2 C
qemu-io -c 'write -q 128k 4k' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
qemu-img bitmap --add --disable mid.qcow2 C
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 4M
qemu-img bitmap --add top.qcow2 C
qemu-io -c 'write -q 1M 64k' top.qcow2
unchanged top.qcow2 qcbm bitmap --collect C --dry-run top.qcow2 2>/dev/null | grep -v stage | grep -v plan
unchanged base.qcow2 qcbm bitmap --collect C --as N --undo undo top.qcow2
qcbm extents top.qcow2 N
json '[[l["filename"], l["virtual-size"], l["has-bitmap"]] for l in v["layers"]] == [["top.qcow2", 4194304, True],
      ["mid.qcow2", 3145728, True], ["base.qcow2", 3145728, True], ["raw.img", 1048576, False]] and
      v["layers"][1]["tail-bytes"] == 1048576 and v["layers"][1]["enabled"] is False and
      v["dirty-bytes"] == 1179648 and v["bitmap"] == "M" and v["source-bitmap"] == "C" and v["granularity"] == 65536' \
    qcbm bitmap --collect C --as M --output=json --dry-run top.qcow2 2>/dev/null
fails unchanged top.qcow2 qcbm bitmap --collect missing top.qcow2
qemu-img bitmap --remove mid.qcow2 C
fails unchanged top.qcow2 qcbm bitmap --collect C top.qcow2
qcbm undo top.qcow2 undo
