# told.sh - what is told: applied, applied already, into a new file, and as JSON; ids in the header and beside a raw disk
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 disk.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 1 0 512k' disk.qcow2
qemu-img convert -f qcow2 -O qcow2 disk.qcow2 full.qcow2
qcbm bitmap --add disk.qcow2 b
qemu-io -f qcow2 -c 'write -q -P 2 64k 64k' -c 'write -q -z 128k 64k' disk.qcow2
qcbm delta -q --bitmap=b --id=11111111111111111111111111111111 disk.qcow2 d1
cp full.qcow2 copy.qcow2
qcbm apply --dry-run full.qcow2 d1
qcbm apply --in-place full.qcow2 d1
qcbm apply --in-place full.qcow2 d1
qcbm apply -o new.raw -O raw full.qcow2 d1
qemu-img compare -f qcow2 -F raw full.qcow2 new.raw
qcbm apply --output=json --in-place full.qcow2 d1 | python3 -c 'import json, sys
d = json.load(sys.stdin)
print(d["applied"], d["already"], d["state"], d["recorded"], d["deltas"][0]["what"])'
[ -e new.raw.qcbm-id ] || complain "the id of the new raw disk is not there"
qcbm delta -q --bitmap=b --id=22222222222222222222222222222222 --parent-id=33333333-3333-3333-3333-333333333333 disk.qcow2 d2
qcbm apply -q --base-id=33333333-3333-3333-3333-333333333333 --in-place copy.qcow2 d2
qcbm delta -q --bitmap=b --id=44444444444444444444444444444444 --parent-id=11111111111111111111111111111111 disk.qcow2 d4
qcbm apply --dry-run full.qcow2 d1 d4
qcbm apply --dry-run new.raw -f raw d1 d4 | tail -1
qemu-img create -q -f qcow2 other.qcow2 1M
qemu-io -f qcow2 -c "write -q -P 1 0 512k" other.qcow2
qcbm apply --dry-run other.qcow2 d1 d4
for way in qcow2 raw; do
    qcbm apply --output=json -o "new2.$way" -O "$way" other.qcow2 d1 d4 | grep -e parent-id -e state\"
done
qcbm apply --base-id=22222222222222222222222222222222 --in-place copy.qcow2 d2
