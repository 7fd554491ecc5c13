# changes.sh - a tag is given once, changed, taken out, and each of that undone; nothing else of the image changes
# SPDX-License-Identifier: MIT
fixture ten-overlay
digits='^[0-9a-f]\{32\}'
others() { # all of the image but its tag
    { qcbm info --output=json "$1" | grep -v '"tag"\|-size\|length\|"dirty-flag"'; qcbm extents --layer "$1"; qcbm check "$1"; qemu-img check "$1"; } >"$2"
}
others overlay.qcow2 before
cp overlay.qcow2 first
json 'v["changed"] is False and v["tag"] is None and v["tag-before"] is None and v["dry-run"] and v["steps"]' \
    unchanged overlay.qcow2 qcbm tag --dry-run --output=json overlay.qcow2
unchanged overlay.qcow2 qcbm tag --dry-run overlay.qcow2 | grep -qx 'a new tag' || complain "dry run"
json 'v["changed"] is False and v["tag"] is None' unchanged overlay.qcow2 qcbm tag --remove --output=json overlay.qcow2
qcbm tag --undo=one overlay.qcow2 >one.out
grep -qx "$digits" one.out || complain "$(cat one.out)"
tag=$(cat one.out)
others overlay.qcow2 after
diff before after
qcbm info overlay.qcow2 | grep -qx "tag: $tag" || complain "info"
json "v['tag'] == '$tag'" qcbm info --output=json overlay.qcow2
unchanged overlay.qcow2 qcbm tag overlay.qcow2 | grep -qx "$tag: is there already" || complain "again"
cp overlay.qcow2 tagged
qcbm tag --new --undo=two overlay.qcow2 | grep -qx "$digits, in place of $tag" || complain "--new"
json "v['changed'] and v['tag'] == '00112233445566778899aabbccddeeff' and v['tag-before'] != '$tag'" \
    qcbm tag --set=tag-00112233-4455-6677-8899-AABBCCDDEEFF --undo=three --output=json overlay.qcow2
unchanged overlay.qcow2 qcbm tag -q --set 00112233445566778899aabbccddeeff overlay.qcow2
qcbm tag --remove --undo=four overlay.qcow2 | grep -qx 'no tag, in place of 00112233445566778899aabbccddeeff' || complain "--remove"
others overlay.qcow2 after
diff before after
for undo in four three two; do qcbm undo overlay.qcow2 $undo >/dev/null; done
cmp overlay.qcow2 tagged
qcbm undo overlay.qcow2 one >/dev/null
cmp overlay.qcow2 first
# a copy has that of its original, until it gets one of its own
cp tagged copy.qcow2
qcbm info copy.qcow2 | grep -qx "tag: $tag" || complain "copy"
qcbm tag -q --new copy.qcow2
! qcbm info copy.qcow2 | grep -q "$tag" || complain "the copy has it still"
