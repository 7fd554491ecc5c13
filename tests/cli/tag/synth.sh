# synth.sh - synth gives the tag with the bitmap, in one commit, or where the bitmap is there already, and once
# SPDX-License-Identifier: MIT
fixture ten-overlay
cp overlay.qcow2 first
json 'v["tag"] is None and v["tagged"] is False and any(s["what"] == "header: tag" for s in v["steps"])' \
    unchanged overlay.qcow2 qcbm synth --tag --dry-run --output=json overlay.qcow2 new
json 'len(v["tag"]) == 32 and v["tagged"] and v["changed"]' qcbm synth --tag --undo=undo --output=json overlay.qcow2 new
tag=$(qcbm info overlay.qcow2 | sed -n 's/^tag: //p')
qemu-img check -q overlay.qcow2
json "v['tag'] == '$tag' and not v['tagged'] and not v['changed']" \
    unchanged overlay.qcow2 qcbm synth --tag --if-missing --output=json overlay.qcow2 new
qcbm synth --tag --replace overlay.qcow2 new | grep -qx "tag: $tag" || complain "replace"
json "'tag' not in v" qcbm synth --replace --output=json overlay.qcow2 new
cp first overlay.qcow2
qcbm synth -q overlay.qcow2 new
cp overlay.qcow2 untagged
# the bitmap stays, and is not said to be changed
json 'not v["tagged"] and not v["changed"] and v["tag"] is None' \
    unchanged overlay.qcow2 qcbm synth --tag --if-missing --dry-run --output=json overlay.qcow2 new
json 'v["tagged"] and not v["changed"] and len(v["tag"]) == 32' qcbm synth --tag --if-missing --undo=kept --output=json overlay.qcow2 new
qcbm undo overlay.qcow2 kept >/dev/null
cmp overlay.qcow2 untagged
qcbm synth --tag --if-missing overlay.qcow2 new | tail -n 1 | grep -qx 'tag: [0-9a-f]*, new' || complain "text"
