# ways.sh - where nothing opens check names what does: dump, edit, rescue; and edit takes offsets as dump does
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 sound
says() { grep -qF "$1" err || { cat err; false; }; }
# a field of the header
qcbm edit -q --force image.qcow2 'header cluster_bits: 16=80'
for how in --strict --explain -rall; do
    qcbm check "$how" image.qcow2 >out 2>err && exit 1
    says "'qcbm edit --undo UNDO image.qcow2 EDIT' sets one"
    says "'qcbm rescue image.qcow2 -o NEW'"
done
qcbm check image.qcow2 >out 2>err && exit 1
grep -q hint err && exit 1
# the header is lost
cp sound image.qcow2
dd if=/dev/zero of=image.qcow2 bs=64k count=1 conv=notrunc status=none
code=0
qcbm check --strict --explain image.qcow2 >out 2>err || code=$?
[ $code = 63 ]
says "'qcbm rescue image.qcow2 -o NEW'"
# an L1 entry is lost
cp sound image.qcow2
qcbm edit -q --force image.qcow2 'l1 0=0' 2>err
qcbm check --explain image.qcow2 >out 2>err || true
says "[lost-table]"
says "'qcbm rescue image.qcow2 -o NEW' looks for it in the file"
says "'qcbm edit --undo UNDO image.qcow2 EDIT'"
# offsets, and what is wrong about an edit
cp sound image.qcow2
for as in 64k 0x10000 65536; do
    qcbm edit --dry-run --force image.qcow2 "l2 $as=0" >out 2>err
    grep -q '^ *entry 1 of the L2 table' out
done
refused() { qcbm edit image.qcow2 "$1" >out 2>err && exit 1; says "$2"; }
refused 'l2 0x10000 8=1' "there is no ':' between the field and the old number"
refused 'l2 64q: 8=1' 'the offset is no number'
refused 'l2 16E: 8=1' 'the offset is no number'
refused 'l1 0x: 8=1' 'the index is no number'
refused 'l2 : 8=1' 'the field is not named in full'
refused 'l2 18446744073709486080: 0=1' 'the L1 table has no such entry'
grep -q hint err && exit 1
qcbm dump image.qcow2 bitmaps b0 >out 2>err && exit 1
says 'bitmaps go by their index here'
cmp sound image.qcow2
