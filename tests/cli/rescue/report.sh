# report.sh - a lost header: text, the report, the exit code, and the old image as it was
# SPDX-License-Identifier: MIT
fixture one-bitmaps
poke image.qcow2 0 "$(printf '00%.0s' {1..512})"
cp image.qcow2 before
code=0
qcbm rescue --size=1M --report=found.json -o new.qcow2 image.qcow2 || code=$?
[ "$code" -eq 3 ] || complain "exit code $code"
cmp image.qcow2 before
qemu-img check -q new.qcow2
python3 -c 'import json
found = json.load(open("found.json"))
assert found["header-found-again"] and found["backing-unknown"] and found["virtual-size"] == 1 << 20, found
assert sum(r["length"] for r in found["ranges"]) == 1 << 20, found'
