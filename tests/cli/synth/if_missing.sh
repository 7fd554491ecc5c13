# if_missing.sh - a bitmap that is there is left as it is, if it is what would have been made; else it is an error
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 64M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
qemu-io -f qcow2 -c 'write 1M 64k' overlay.qcow2 >/dev/null
json 'v["changed"] is False and v["dry-run"]' qcbm synth --if-missing --dry-run --output=json overlay.qcow2 b
json 'v["changed"] is True and v["dirty-bytes"] == 65536' qcbm synth --if-missing --output=json overlay.qcow2 b
for _ in 1 2; do
    json 'v["changed"] is False and v["dirty-bytes"] == 65536 and v["granularity"] == 65536 and v["enabled"]' \
        unchanged overlay.qcow2 qcbm synth --if-missing --output=json overlay.qcow2 b
done
unchanged overlay.qcow2 qcbm synth --if-missing overlay.qcow2 b >text
grep -qx "b: 64 KiB dirty .*; is there already" text || complain "$(cat text)"
unchanged overlay.qcow2 qcbm synth -q --if-missing overlay.qcow2 b
# the one in another image counts, where that gets it
json 'v["changed"] is True' qcbm synth --if-missing --into base.qcow2 --output=json overlay.qcow2 b
json 'v["changed"] is False' qcbm synth --if-missing --into base.qcow2 --output=json overlay.qcow2 b
# not what was asked for: it would miss writes, or take them
unchanged overlay.qcow2 fails qcbm synth --if-missing --disabled overlay.qcow2 b
qemu-img bitmap --disable overlay.qcow2 b
unchanged overlay.qcow2 fails qcbm synth --if-missing overlay.qcow2 b
unchanged overlay.qcow2 qcbm synth -q --if-missing --disabled overlay.qcow2 b
# cannot be relied on
qemu-img bitmap --enable overlay.qcow2 b
cp overlay.qcow2 damaged.qcow2
cp overlay.qcow2 marked.qcow2
at=$(qcbm dump --output=json overlay.qcow2 bitmaps |
    python3 -c 'import json, sys; print(next(i["value"] for i in json.load(sys.stdin) if i["name"] == "bitmap_table_offset"))')
poke damaged.qcow2 "$at" 00ffffffffffff00
unchanged damaged.qcow2 fails qcbm synth --if-missing damaged.qcow2 b
poke marked.qcow2 79 01
unchanged marked.qcow2 fails qcbm synth --if-missing marked.qcow2 b
fixture one-in-use
name=$(qcbm bitmap --list --output=json image.qcow2 | python3 -c 'import json, sys; print(json.load(sys.stdin)["bitmaps"][0]["name"])')
unchanged image.qcow2 fails qcbm synth --if-missing image.qcow2 "$name"
for other in --replace --merge --like=base.qcow2; do
    ! qcbm synth --if-missing "$other" overlay.qcow2 b 2>/dev/null || complain "accepted: $other"
done
# nothing passes that a new one would not have
cp overlay.qcow2 counts.qcow2
block=$(peek counts.qcow2 "$(peek counts.qcow2 48 8)" 8)
poke counts.qcow2 "$block" 000000000000
unchanged counts.qcow2 fails qcbm synth counts.qcow2 new
unchanged counts.qcow2 fails qcbm synth --if-missing counts.qcow2 b
unchanged overlay.qcow2 fails qcbm synth --if-missing --since=nosuch.qcow2 overlay.qcow2 b
unchanged overlay.qcow2 fails qcbm synth --if-missing --refine-against=nosuch.qcow2 overlay.qcow2 b
unchanged overlay.qcow2 qcbm synth -q --if-missing --since=base.qcow2 overlay.qcow2 b
# a file for undo is there whenever the command succeeded
unchanged overlay.qcow2 qcbm synth -q --if-missing --undo=kept.undo overlay.qcow2 b
unchanged overlay.qcow2 qcbm undo overlay.qcow2 kept.undo | grep -q 'nothing to undo' || complain "no undo file"
unchanged overlay.qcow2 fails qcbm synth --if-missing --dry-run --undo=kept.undo overlay.qcow2 b
# a bitmap to look within is no file
qcbm manifest -q -o m overlay.qcow2
unchanged overlay.qcow2 qcbm synth -q --if-missing --against=m --within=b overlay.qcow2 b
unchanged overlay.qcow2 fails qcbm synth --if-missing --against=m --within=nosuch overlay.qcow2 b
