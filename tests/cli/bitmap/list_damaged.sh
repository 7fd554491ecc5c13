# list_damaged.sh - a bad entry or table does not hide the other bitmap
# SPDX-License-Identifier: MIT
fixture one-bitmaps
at=$(bitmap_directory)
poke image.qcow2 $((at + 17)) 63 # granularity 2^99 for b0
qcbm bitmap --list image.qcow2
json '[b["name"] for b in v["bitmaps"]] == ["b0", "frozen"] and v["bitmaps"][0]["dirty-bytes"] is None
    and v["bitmaps"][0]["dirty-share"] is None and v["bitmaps"][0]["disk-bytes"] is None
    and v["bitmaps"][0]["findings"][0]["severity"] == "error" and v["bitmaps"][1]["dirty-bytes"] == 0' \
    qcbm bitmap --list --output=json image.qcow2
qcbm bitmap --remove image.qcow2 b0
qemu-img check -q image.qcow2
