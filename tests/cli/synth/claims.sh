# claims.sh - what a bitmap is said to stand for, and the notes, are true for each combination of options
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2
qemu-io -c 'write -q 1M 64k' middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 overlay.qcow2 10M
qemu-io -c 'write -q 4M 64k' overlay.qcow2
qemu-img create -q -f qcow2 other.qcow2 10M
qemu-img create -q -f qcow2 alone.qcow2 10M
qemu-img create -q -f qcow2 -o data_file=raw.data,data_file_raw=on raw.qcow2 10M
qemu-img bitmap --add overlay.qcow2 old

# said CLAIM DIRTY-KIB NOTES [OPTION]...: NOTES is a pattern for all notes, or "none"
said() {
    local claim=$1 dirty=$2 notes=$3
    shift 3
    qcbm synth --dry-run --output=json "$@" >said.json
    json "v['claim'] == \"$claim\"" cat said.json
    json "v['dirty-bytes'] == $dirty << 10" cat said.json
    if [ "$notes" = none ]; then
        json "v['notes'] == []" cat said.json
    else
        json "len(v['notes']) == 1 and __import__('re').search('$notes', v['notes'][0])" cat said.json
    fi
}

backing='differs from the current backing file'
said "$backing" 64 none overlay.qcow2 new
said "$backing" 64 none --disabled overlay.qcow2 new
said "$backing" 64 none --force overlay.qcow2 new # no raw data file: it has nothing to force
said "$backing of the overlay" 64 none --into other.qcow2 overlay.qcow2 new
said "$backing" $((64 + 2048)) 'grown by 2097152 bytes.*all of them are dirty' --dirty-tail overlay.qcow2 new
said "$backing" 64 'others may write' -U overlay.qcow2 new
said 'differs from base.qcow2' 128 'grown by 2097152 bytes.*is clean' --since base.qcow2 overlay.qcow2 new
said 'differs from base.qcow2' $((128 + 2048)) 'all of them are dirty' --since base.qcow2 --dirty-tail overlay.qcow2 new
said 'differs from an empty disk (there is no backing file)' 0 'no backing file' alone.qcow2 new
said 'differs from an empty disk (there is no backing file)' 0 'no backing file' --dirty-tail alone.qcow2 new
raw='may differ from an empty disk (there is no backing file) anywhere'
said "$raw" 10240 'a raw data file tells nothing' --force raw.qcow2 new
said "$raw" 10240 'a raw data file tells nothing' --force --dirty-tail raw.qcow2 new
said "$raw" 10240 'a raw data file tells nothing' --force --into other.qcow2 raw.qcow2 new

# without what is the same
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 again.qcow2 10M
qemu-io -c 'write -q 4M 64k' -c 'write -q -P 0 5M 64k' -c 'write -q -z 6M 64k' again.qcow2
said "$backing" 192 none again.qcow2 new
said "$backing" 128 none --refine=zero again.qcow2 new
json "v['refine'] == {'mode': 'zero', 'against': None, 'zero-bytes': 65536, 'equal-bytes': 0, 'unreadable-bytes': 0}" cat said.json
said "$backing" 64 none --refine again.qcow2 new
json "v['refine'] == {'mode': 'content', 'against': None, 'zero-bytes': 65536, 'equal-bytes': 65536, 'unreadable-bytes': 0}" cat said.json
said "$backing, and from base.qcow2" 64 none --refine-against=base.qcow2 again.qcow2 new
said 'differs from an empty disk (there is no backing file)' 0 'no backing file' --refine raw.qcow2 new
qcbm synth --dry-run --refine again.qcow2 new | grep -qx 'left out: 64 KiB of zeros on both sides, 64 KiB of equal content' ||
    complain 'what was left out is not told'

# what the bitmap had before is in it, too
said "$backing" 64 none --replace overlay.qcow2 old
said "$backing" 64 none --merge overlay.qcow2 new # no such bitmap yet
qemu-io -c 'write -q 6M 64k' overlay.qcow2
qcbm bitmap -q --set 9M:64k overlay.qcow2 old
said "$backing, or was dirty in the bitmap before" 192 none --merge overlay.qcow2 old
qcbm synth -q --into other.qcow2 overlay.qcow2 old
said "$backing of the overlay, or was dirty in the bitmap before" 128 none --merge --into other.qcow2 overlay.qcow2 old

# two states of one image
qemu-img create -q -f qcow2 states.qcow2 8M
qemu-img snapshot -c one states.qcow2
qemu-io -c 'write -q 1M 64k' states.qcow2
qemu-img snapshot -c two states.qcow2
qemu-io -c 'write -q 4M 64k' states.qcow2
said "differs between snapshot 1 'one' and now" 128 none --since-snapshot one states.qcow2 new
said "differs between snapshot 1 'one' and snapshot 2 'two'" 64 none --since-snapshot id:1 --snapshot two states.qcow2 new
qemu-img resize -q states.qcow2 9M
said "differs between snapshot 2 'two' and now" $((64 + 1024)) 'long at the beginning.*added is dirty' --since-snapshot two states.qcow2 new

# a damaged layer is named, not the overlay above it
l1=$(peek middle.qcow2 40 8)
l2=$(($(peek middle.qcow2 "$l1" 8) & 0x00fffffffffffe00))
poke middle.qcow2 $((l2 + 8 * 100)) 8000000000050200
fails unchanged overlay.qcow2 qcbm synth --since base.qcow2 overlay.qcow2 new 2>refused
grep -q "layer '.*middle.qcow2': .*; 'qcbm check --explain .*middle.qcow2' tells what to do" refused || complain "$(cat refused)"
