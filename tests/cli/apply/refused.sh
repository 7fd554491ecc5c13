# refused.sh - what is no delta, no base, or does not go together; nothing is left behind
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 disk.qcow2 1M
qemu-io -f qcow2 -c 'write -q -P 1 0 512k' disk.qcow2
cp disk.qcow2 full.qcow2
qcbm bitmap --add disk.qcow2 b
qemu-io -f qcow2 -c 'write -q -P 2 64k 64k' disk.qcow2
qcbm delta -q --bitmap=b --id=1111111111111111111111111111111a disk.qcow2 d1
qcbm delta -q --bitmap=b --id=2222222222222222222222222222222b --parent-id=1111111111111111111111111111111a disk.qcow2 d2
if qcbm apply full.qcow2 d1; then complain "accepted without NEW"; fi
if qcbm apply --in-place -o new full.qcow2 d1; then complain "accepted both"; fi
if qcbm apply --in-place full.qcow2; then complain "accepted without a delta"; fi
fails unchanged full.qcow2 qcbm apply --in-place full.qcow2 d2
fails unchanged full.qcow2 qcbm apply --in-place full.qcow2 d2 d1
fails unchanged full.qcow2 qcbm apply --in-place full.qcow2 missing
fails unchanged full.qcow2 qcbm apply --in-place full.qcow2 full.qcow2
fails qcbm apply --in-place d1 d1
fails unchanged full.qcow2 qcbm apply -o d2 full.qcow2 d1
fails unchanged full.qcow2 qcbm apply -O vmdk -o new full.qcow2 d1
fails unchanged full.qcow2 qcbm apply -O raw --in-place full.qcow2 d1
fails unchanged full.qcow2 qcbm apply --in-place --state=elsewhere full.qcow2 d1
fails unchanged full.qcow2 qcbm apply -o new --state=elsewhere full.qcow2 d1
ln disk.qcow2 hard.qcow2
fails unchanged disk.qcow2 qcbm apply --in-place disk.qcow2 d1
fails unchanged disk.qcow2 qcbm apply --in-place --dry-run hard.qcow2 d1
ln d1 hard.d1
fails qcbm apply --in-place d1 hard.d1
# a dry run answers for what would be done
fails qcbm apply --dry-run -o d2 full.qcow2 d1
fails unchanged full.qcow2 qcbm apply --dry-run -o elsewhere/new full.qcow2 d1
qemu-img convert -O qcow2 -o compat=0.10 full.qcow2 old.qcow2
fails unchanged old.qcow2 qcbm apply --in-place --dry-run --force-parent old.qcow2 d1
qcbm apply -q -o new.old --dry-run --force-parent old.qcow2 d1
for left in elsewhere.* new full.qcow2.qcbm-* new.*; do
    [ ! -e "$left" ] || complain "$left is there"
done
