# set_and_back.sh - a field is shown, set, refused with its old value, and set back to the same file
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 1M
qemu-io -f qcow2 -c 'write -q 0 256k' image.qcow2
cp image.qcow2 first
l2=$(qcbm dump --output=json image.qcow2 l2 64k | python3 -c 'import json, sys; print(hex(json.load(sys.stdin)[0]["value"]))')
unchanged image.qcow2 qcbm edit --dry-run image.qcow2 "l2 0x10000: $l2=1"
qcbm edit image.qcow2 "l2 0x10000: $l2=1"
fails unchanged image.qcow2 qcbm edit image.qcow2 "l2 0x10000: $l2=1"
fails unchanged image.qcow2 qcbm edit image.qcow2 'l2 0x10000=0'
json "v['edits'][0]['new-value'] == $l2 and v['made'] == [] and v['sectors'] == v['writes'] == 1 and not v['worse']" \
    qcbm edit --output=json image.qcow2 "l2 0x10000: 1=$l2"
cmp image.qcow2 first
qcbm edit -q image.qcow2 "l2 0x10000: $l2=$l2"
