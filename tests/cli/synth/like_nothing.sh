# like_nothing.sh - a base that has nothing to be continued is told, for then the next backup is a full one
# SPDX-License-Identifier: MIT
fixture ten-overlay
json 'v["bitmaps"] == [] and "copied without its bitmaps" in v["notes"][0]' \
    qcbm synth --like base.qcow2 --output=json overlay.qcow2
qemu-img bitmap --add --disable base.qcow2 frozen
json 'v["notes"] == ["\x27base.qcow2\x27 has no bitmap that records and is consistent"]' \
    qcbm synth --like base.qcow2 --output=json overlay.qcow2
qemu-img bitmap --add base.qcow2 b0
json 'v["notes"] == [] and len(v["bitmaps"]) == 2' qcbm synth --like base.qcow2 --output=json overlay.qcow2
