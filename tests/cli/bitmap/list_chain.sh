# list_chain.sh - the bitmaps of all layers of a chain; a broken layer is told and hides none above it
# SPDX-License-Identifier: MIT
qemu-img create -q -f raw raw.img 1M
qemu-img create -q -f qcow2 -b raw.img -F raw base.qcow2 2M
qemu-img bitmap --add base.qcow2 a
qemu-img bitmap --add -g 4k --disable base.qcow2 b
qemu-io -c 'write -q 128k 64k' base.qcow2
mkdir sub
qemu-img create -q -f qcow2 -b ../base.qcow2 -F qcow2 sub/mid.qcow2
qemu-img create -q -f qcow2 -b sub/mid.qcow2 -F qcow2 top.qcow2
qemu-img bitmap --add top.qcow2 b
sha256sum ./*.* sub/*.* >before
qcbm bitmap --list --chain top.qcow2
qcbm bitmap --list --backing-chain top.qcow2 | diff <(qcbm bitmap --list --chain top.qcow2) -
sha256sum --quiet -c before

# each layer as qemu-img has it
json '[[l["image"], l["format"]] for l in v] == [["top.qcow2", "qcow2"], ["sub/mid.qcow2", "qcow2"],
      ["sub/../base.qcow2", "qcow2"], ["sub/../raw.img", "raw"]]' qcbm bitmap --list --chain --output=json top.qcow2
cp json.out chain.json
qemu-img info --backing-chain --output=json top.qcow2 >theirs.json
python3 - <<'END'
import json
ours, theirs = json.load(open('chain.json')), json.load(open('theirs.json'))
assert [l['virtual-size'] for l in ours] == [l['virtual-size'] for l in theirs]
for mine, other in zip(ours, theirs):
    stored = other.get('format-specific', {}).get('data', {}).get('bitmaps', [])
    assert [(b['name'], b['granularity'], b['flags']) for b in mine['bitmaps']] == \
        [(b['name'], b['granularity'], b['flags']) for b in stored], (mine, stored)
assert [[b['dirty-bytes'] for b in l['bitmaps']] for l in ours] == [[0], [], [65536, 0], []]
END

broken() {
    local code=0
    qcbm bitmap --list --chain top.qcow2 >out 2>err || code=$?
    [ "$code" = 1 ] || complain "exit code $code"
    sed 's/^/    /' out
    cat err
    qcbm bitmap --list --chain --output=json top.qcow2 >out.json 2>/dev/null && complain 'the same in JSON succeeded'
    python3 -c 'import json; v = json.load(open("out.json")); print(len(v), "layers;", v[-1].get("error"))'
}
echo '-- missing'
mv sub/mid.qcow2 away
broken
echo '-- no image'
head -c 1000 /dev/zero >sub/mid.qcow2
broken
mv away sub/mid.qcow2
echo '-- a header that QEMU refuses'
cp base.qcow2 good.qcow2
poke base.qcow2 20 00000003
broken
cp good.qcow2 base.qcow2
echo '-- a loop'
qemu-img rebase -u -b top.qcow2 -F qcow2 base.qcow2
broken
cp good.qcow2 base.qcow2
echo '-- a directory whose bitmaps are damaged is a finding of one layer, and no end of the chain'
poke base.qcow2 "$(qcbm dump base.qcow2 bitmaps | sed -n 's/  type\[0\] .*//p')" ff
qcbm bitmap --list --chain top.qcow2 | sed -n '/layer 2/,$p'
cp good.qcow2 base.qcow2

echo '-- wrong use'
qcbm bitmap --chain top.qcow2 2>&1 && complain 'without --list'
qcbm bitmap --list --chain top.qcow2 a 2>&1 && complain 'with a name'
# the plain list opens nothing else
rm -r sub
qcbm bitmap --list top.qcow2 >plain
qcbm bitmap --list --chain top.qcow2 2>/dev/null | tail -n +2 | diff plain -
