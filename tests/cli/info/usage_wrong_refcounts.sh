# usage_wrong_refcounts.sh - refcounts that say too little: the references count; where damage hides them nothing is told
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 -o lazy_refcounts=on crashed.qcow2 64M
(
    ulimit -c 0
    qemu-io -f qcow2 -c 'write -q -P 5 0 8M' -c flush -c abort crashed.qcow2 || true
) >abort.log 2>&1
qemu-img create -q -f qcow2 lost.qcow2 64M
qemu-io -f qcow2 -c 'write -q -P 5 0 8M' lost.qcow2
cp lost.qcow2 whole.qcow2
poke lost.qcow2 "$(peek lost.qcow2 "$(peek lost.qcow2 48 8)" 8)" "$(printf '00%.0s' {1..1024})"

for image in crashed lost; do
    qemu-img check -U --output=json $image.qcow2 >check.json 2>check.err || true
    end=$(python3 -c 'import json; print(json.load(open("check.json"))["image-end-offset"])')
    json "v['usage']['end-offset'] == $end and v['usage']['allocated-bytes'] == $end" \
        qcbm info --usage --output=json $image.qcow2
done
qcbm info --usage crashed.qcow2 | grep "end offset: $end"

# an L1 entry that nobody can follow: what hangs below it is unknown
cp whole.qcow2 image.qcow2
poke image.qcow2 "$(peek image.qcow2 40 8)" 8000000000000200
json "v['usage']['end-offset'] is None and v['usage']['allocated-bytes'] is None and
      'not cluster aligned' in v['usage']['why-unknown']" qcbm info --usage --output=json image.qcow2
qcbm info --usage image.qcow2 | grep -A4 ^Usage
