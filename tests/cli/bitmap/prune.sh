# prune.sh - what matches goes, but for the last N by version; inconsistent ones too
# SPDX-License-Identifier: MIT
fixture one-in-use
qcbm bitmap --prune 'froz*' image.qcow2
for day in 9 10 2 11; do qcbm bitmap --remove --add image.qcow2 b0 && qcbm bitmap --quiet --rename "b-$day" image.qcow2 b0 &&
    qcbm bitmap --add image.qcow2 b0; done
unchanged image.qcow2 qcbm bitmap --prune 'b-*' --keep 2 --dry-run image.qcow2 >dry
grep -v '^  stage\|^plan' dry
json 'v["removed"] == ["b-2", "b-9"] and v["kept"] == ["b-10", "b-11"] and v["plan"]["writes"] > 0' \
    qcbm bitmap --prune 'b-*' --keep 2 --output=json image.qcow2
unchanged image.qcow2 qcbm bitmap --prune 'b-*' --keep 2 image.qcow2
unchanged image.qcow2 qcbm bitmap --prune 'x*' image.qcow2
qcbm bitmap --prune '[b]-1?' image.qcow2
qcbm bitmap --list image.qcow2
qemu-img check -q image.qcow2
# numbers with zeros in front are numbers, too
for n in 8 010 0 01 09 1; do qcbm bitmap --add image.qcow2 "h-$n-x"; done
json 'v["removed"] == ["h-0-x", "h-01-x", "h-1-x", "h-8-x"] and v["kept"] == ["h-09-x", "h-010-x"]' \
    qcbm bitmap --prune 'h-*' --keep 2 --output=json image.qcow2
# inconsistent ones are none of those that are kept
qcbm bitmap --prune '*' --quiet image.qcow2
qcbm bitmap --add image.qcow2 k-1
(
    ulimit -c 0
    qemu-io -c 'write -q 0 64k' -c abort image.qcow2 || true
) >abort.log 2>&1
for n in 0 2; do qcbm bitmap --add image.qcow2 "k-$n"; done
json 'v["removed"] == ["k-0", "k-1"] and v["kept"] == ["k-2"]' \
    qcbm bitmap --prune 'k-*' --keep 1 --dry-run --output=json image.qcow2
json 'v["removed"] == ["k-1"] and v["kept"] == ["k-0", "k-2"]' \
    qcbm bitmap --prune 'k-*' --keep 3 --output=json image.qcow2
