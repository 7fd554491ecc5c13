# details.sh - an answer that is too long for a line: in a file that the line names, whole, beside what was there
# SPDX-License-Identifier: MIT
fixture ten-overlay
# Lists that are long: image, name of a folder, name of a bitmap
long=$(printf 'x%.0s' {1..200})
cp overlay.qcow2 long.qcow2
for i in {1..20}; do
    qcbm bitmap -q --add long.qcow2 "$i-$long"
done
qcbm bitmap --list --output=json long.qcow2 >expected
mkdir folder
qcbm bitmap --list --record=log long.qcow2
qcbm bitmap --list --record=log --record-dir=folder long.qcow2
(cd folder && qcbm bitmap --list --output=jsonl ../long.qcow2 >../third)
cat third >>log
# the name of an image and a message that do not fit
deep=$(printf '\001%.0s' {1..200})/$(printf 'é%.0s' {1..120})/$(printf '"%.0s' {1..250})
! qcbm info --record=log "$deep/$deep" 2>/dev/null || complain "there is no such image"
qcbm info --record=log overlay.qcow2
python3 - "$deep/$deep" <<'PYTHON'
import json, os, sys
lines = open('log', 'rb').read().split(b'\n')
assert len(lines) == 6 and lines[5] == b'', len(lines)
assert all(len(line) < 4096 for line in lines)
records = [json.loads(line) for line in lines[:5]]
expected = json.load(open('expected'))
here = os.path.realpath('.')
for record, folder in zip(records, [here, here + '/folder', here + '/folder']):
    assert record['result'] is None and os.path.dirname(record['details']) == folder, record
    details = json.load(open(record['details']))
    answer = details.pop('result')
    answer['image'] = expected['image']  # as it was named
    assert answer == expected, (answer, expected)
    assert {k: v for k, v in record.items() if k not in ('details', 'result')} == details, (record, details)
record = records[3]
details = json.load(open(record['details']))
assert record['image'] is None and details['image'] == sys.argv[1], record
assert record['error']['message'] and details['error']['message'].startswith(record['error']['message']), record
assert details['result'] is None
assert details['error']['code'] == record['error']['code'] == 'QCBM_E_NOTFOUND', details
assert records[4]['details'] is None and records[4]['result']['format'] == 'qcow2'
PYTHON
[ "$(find . -name 'qcbm-*' | wc -l)" = 4 ] || complain "other files: $(find . -name 'qcbm-*')"
# nowhere to put it: the work is done, the run has failed, and says so
mkdir gone
(cd gone && rmdir ../gone && ! qcbm bitmap --list --output=jsonl ../long.qcow2 2>/dev/null) || complain "no folder, and no failure"
echo raw >raw.img
printf '{\n    "a": 1\n}\n' >any.json
{ printf '{' && head -c 600 /dev/zero; } >brace.img
for way in '--record=log --record-dir=nosuch' --record=nosuch/log --record=folder --record=long.qcow2 --record=raw.img --record=any.json \
    --record=brace.img; do
    # shellcheck disable=SC2086
    unchanged long.qcow2 unchanged raw.img unchanged any.json unchanged brace.img fails qcbm bitmap --add $way long.qcow2 new
done
json 'not any(b["name"] == "new" for b in v["bitmaps"])' qcbm bitmap --list --output=json long.qcow2
