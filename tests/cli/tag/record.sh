# record.sh - records name an image by its tag, also where it is locked, and the file beside it
# SPDX-License-Identifier: MIT
fixture ten-overlay
ids() { # IMAGE_ID: of the last record, and the file; "file" for one by the file
    python3 - "$1" <<'PYTHON' || complain "$(tail -n 1 log)"
import json, sys
r = json.loads(open('log').read().split('\n')[-2])
assert r['file_id'].startswith('file-')
assert r['image_id'] == (r['file_id'] if sys.argv[1] == 'file' else sys.argv[1]), r
PYTHON
}
tag=00112233445566778899aabbccddeeff
qcbm info --record=log overlay.qcow2
ids file
qcbm tag --record=log --set=$tag overlay.qcow2
ids tag-$tag
qcbm synth --record=log --dry-run overlay.qcow2 new
ids tag-$tag
qcbm synth --record=log --tag base.qcow2 new # in the record of the run that gives it
ids "tag-$(qcbm info base.qcow2 | sed -n 's/^tag: //p')"
# whatever the command, and whatever it opens the image by
qcbm manifest -q -o m overlay.qcow2
while read -r words; do
    # shellcheck disable=SC2086
    qcbm ${words%% *} --record=log ${words#* } 2>/dev/null || complain "$words"
    ids tag-$tag
done <<'WORDS'
dump overlay.qcow2 header
check overlay.qcow2
map overlay.qcow2
picture overlay.qcow2
bitmap --list overlay.qcow2
bitmap --add overlay.qcow2 b
extents overlay.qcow2 b
snapshot -l overlay.qcow2
measure overlay.qcow2
manifest --verify=m overlay.qcow2
rescue --dry-run overlay.qcow2
WORDS
# the disk of a guest, whose first bytes are what the guest likes
cp overlay.qcow2 guest.raw
for words in 'manifest -f raw -o m2' 'picture -f raw' 'check -f raw'; do
    # shellcheck disable=SC2086
    qcbm $words --record=log guest.raw 2>/dev/null || [ "$words" = 'check -f raw' ] || complain "$words"
    ids file
done
mv overlay.qcow2 moved.qcow2
cp moved.qcow2 overlay.qcow2
qcbm info --record=log overlay.qcow2
ids tag-$tag
! qcbm synth --record=log nosuch.qcow2 new 2>/dev/null || complain "nosuch"
start_writer overlay.qcow2
! qcbm synth --record=log --tempfail overlay.qcow2 new 2>/dev/null || complain "not locked"
ids tag-$tag
qcbm tag --remove --record=log moved.qcow2
ids file
