# prune.sh - what matches goes, but for the last N by version; inconsistent ones too
# SPDX-License-Identifier: MIT
make_inconsistent
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
