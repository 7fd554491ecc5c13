# answers.sh - the answer in the line is what --output=json prints; stdout has nothing else
# SPDX-License-Identifier: MIT
fixture ten-overlay one-bitmaps
cp image.qcow2 other.qcow2
truncate -s 64M raw.img
cat >lines <<'LINES'
synth --dry-run overlay.qcow2 x
synth overlay.qcow2 x
synth --if-missing overlay.qcow2 x
bitmap --list image.qcow2
bitmap --add image.qcow2 y
extents --layer overlay.qcow2
info image.qcow2
check image.qcow2
map --no-sandbox overlay.qcow2
snapshot -l image.qcow2
measure --size=1M
picture overlay.qcow2
dump image.qcow2 header
delta --layer overlay.qcow2 d.qcow2
delta --info d.qcow2
manifest -o m base.qcow2
manifest --verify=m base.qcow2
checkpoint verify --disk vda=overlay.qcow2
attach --data raw.img meta.qcow2
rescue --dry-run image.qcow2
LINES
n=0
while read -r line; do
    n=$((n + 1))
    for way in record json; do
        mkdir -p "$n-$way"
        cp ./*.qcow2 raw.img "$n-$way"
        [ ! -f m ] || cp m "$n-$way"
    done
    # shellcheck disable=SC2086
    (cd "$n-record" && qcbm $line --record=log >out) || complain "$line: failed with --record"
    # shellcheck disable=SC2086
    (cd "$n-json" && qcbm $line --output=json >out) || complain "$line: failed with --output=json"
    [ ! -s "$n-record/out" ] || complain "$line: something on stdout"
    for file in d.qcow2 m meta.qcow2; do # the next ones need them
        [ -f "$file" ] || [ ! -f "$n-json/$file" ] || cp "$n-json/$file" .
    done
    [ "$line" != "synth overlay.qcow2 x" ] || cp "$n-json/overlay.qcow2" .
done <lines
python3 - <<'PYTHON'
import json
OWN = {'elapsed-seconds', 'id', 'seed', 'digest', 'seconds', 'time', 'libvirt-disk'}  # of each run its own

def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in OWN}
    return [plain(v) for v in value] if isinstance(value, list) else value

for n, line in enumerate(open('lines').read().split('\n')[:-1], 1):
    records = open('%d-record/log' % n).read().split('\n')
    assert len(records) == 2 and records[1] == '', line
    record = json.loads(records[0])
    answer = record['result'] if record['result'] is not None else json.load(open(record['details']))['result']
    text = open('%d-json/out' % n).read()
    assert plain(answer) == plain(json.loads(text)) if text else answer is None, (line, answer)
    assert (record['rc'], record['error']) == (0, None), record
PYTHON
# --output=jsonl is --record=-, but for extents, of which it prints each on a line
[ "$(qcbm info --output=jsonl image.qcow2 | wc -l)" = 1 ] || complain "not one line"
qcbm info --output=jsonl --record=here image.qcow2 # says where
[ "$(wc -l <here)" = 1 ] || complain "not there"
qcbm extents --output=jsonl --layer overlay.qcow2 | head -n 1
qcbm extents --record=- --layer overlay.qcow2 | grep -o '"schema":"qcbm.extents/1"'
# what else would print on stdout
while read -r line; do
    # shellcheck disable=SC2086
    ! qcbm $line >out 2>err || complain "accepted: $line"
    [ ! -s out ] || complain "something on stdout: $line"
    head -n 1 err
done <<'LINES'
extents --record=log --output=ovirt --layer overlay.qcow2
info --record=log --output=human image.qcow2
delta --record=log --layer overlay.qcow2 -
manifest --record=log base.qcow2
bitmap --record=log --export - image.qcow2 b
checkpoint xml --record=log --disk vda=overlay.qcow2 x
info --record-dir=. image.qcow2
LINES
[ "$(wc -l <log)" = 6 ] || complain "$(wc -l <log) lines of failures, not 6"
