# stale.sh - bitmaps whose autoclear bit a foreign program cleared: listed, told when they go away, and no leak afterwards
# SPDX-License-Identifier: MIT
fixture one-bitmaps
poke image.qcow2 88 0000000000000000
qcbm bitmap --list image.qcow2
qcbm bitmap --list --chain image.qcow2
json '[(b["name"], b["stale"], b["consistent"], b["granularity"]) for b in v["bitmaps"]] ==
    [("b0", True, False, 65536), ("frozen", True, False, 4096)] and v["stale"]
    and all(b[k] is None for b in v["bitmaps"] for k in ("granules", "dirty-bytes", "dirty-share", "disk-bytes"))
    and v["findings"][0]["code"] == "bitmaps-stale"' qcbm bitmap --list --output=json image.qcow2
fails qcbm extents image.qcow2 b0
fails qcbm bitmap --remove image.qcow2 b0
cp image.qcow2 stale.qcow2

unchanged image.qcow2 qcbm synth --dry-run -q image.qcow2 new
json 'v["stale-bitmaps-dropped"] == ["b0", "frozen"] and v["plan"]["clusters-freed"] == 4' \
    qcbm synth --output=json image.qcow2 new
qemu-img check -q image.qcow2
qcbm bitmap --list image.qcow2

# a cluster of them that somebody else may have by now stays
cp stale.qcow2 image.qcow2
table=$(peek image.qcow2 "$(peek image.qcow2 528 8)" 8)
block=$(peek image.qcow2 "$(peek image.qcow2 48 8)" 8)
poke image.qcow2 $((block + table / 32768)) 0002
qcbm bitmap --add image.qcow2 new
