# copy_to.sh - a bitmap in another image: same bits, granularity and state; the source stays as it is
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qemu-img create -q -f qcow2 -o cluster_size=4k target.qcow2 1M
unchanged image.qcow2 qcbm bitmap --copy-to target.qcow2 image.qcow2 b0
unchanged image.qcow2 qcbm bitmap --copy-to target.qcow2 --as other image.qcow2 frozen
json 'v["image"] == "target.qcow2" and v["bitmap"] == "third" and v["source-bitmap"] == "b0" and v["enabled"] is True
    and v["dirty-bytes"] == 65536 and v["granularity"] == 65536 and v["dry-run"] is True and v["steps"]' \
    unchanged target.qcow2 qcbm bitmap --copy-to target.qcow2 --as third --dry-run --output=json image.qcow2 b0
qcbm bitmap --copy-to image.qcow2 --as twin image.qcow2 b0
fails unchanged target.qcow2 qcbm bitmap --copy-to target.qcow2 image.qcow2 b0
qemu-img check -q target.qcow2
qcbm bitmap --list target.qcow2
qcbm extents target.qcow2 b0
