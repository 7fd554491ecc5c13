# damaged_snapshots.sh - a bad snapshot does not hide what comes before it, nor the rest
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 1M
qemu-img snapshot -c good image.qcow2
qemu-img snapshot -c bad image.qcow2
table=$(peek image.qcow2 64 8)
poke image.qcow2 $((table + 72 + 36)) 00000800 # extra data of the second: 2 KiB
json "[s['name'] for s in v['snapshots']] == ['good'] and v['virtual-size'] == 1048576" \
    qcbm info --output=json image.qcow2
fails qcbm snapshot -l image.qcow2
