# left.sh - tables that have no place, with their offsets, in text and in the report; a bitmap that vanished is counted
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 2G
qemu-io -c 'write -q 64k 64k' -c 'write -q 600M 64k' image.qcow2
qemu-img bitmap --add image.qcow2 b0
cp image.qcow2 cut.qcow2
poke image.qcow2 $((0x30000)) "$(printf '00%.0s' {1..512})"
code=0
qcbm rescue --dry-run --report=found.json image.qcow2 || code=$?
[ "$code" -eq 3 ] || complain "exit code $code"
python3 -c 'import json
found = json.load(open("found.json"))
left = [(x["offset"], x["length"], x["what"], x.get("entries"), x.get("first"), x.get("end")) for x in found["left"]]
assert (0x40000, 65536, "table", 1, 65536, 131072) in left and len([x for x in left if x[2] == "table"]) == 2, left
assert found["tables-unplaced"] == 2 and found["table-places"] == 4 and found["table-span"] == 512 << 20, found
assert found["tables-rebuilt"] == 0 and found["tables-lost"] == 0, found'
truncate -s $(($(stat -c %s cut.qcow2) - 65536)) cut.qcow2
qcbm rescue --dry-run --output=json cut.qcow2 | python3 -c 'import json, sys
found = json.load(sys.stdin)
assert found["bitmaps-kept"] == 0 and found["bitmaps-lost"] == 1, found'
