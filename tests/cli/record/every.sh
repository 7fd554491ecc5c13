# every.sh - each command there is leaves one line where its options are wrong, and says how to get one in its help
# SPDX-License-Identifier: MIT
qcbm --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | grep -v '^help$' >names
[ "$(wc -l <names)" -ge 17 ] || complain "only $(wc -l <names) commands"
for action in create verify mend reclaim xml recover; do echo "checkpoint $action"; done >>names
while read -r name; do
    # shellcheck disable=SC2086 # "checkpoint create" are two words
    ! qcbm $name --record=log --nosuch x y 2>/dev/null || complain "accepted: $name --nosuch"
    # shellcheck disable=SC2086
    [ "$name" = checkpoint ] || [ "$(qcbm $name --help | grep -c -e '--record=FILE' -e '--tempfail' -e '--nice' -e '--max-read=BYTES')" = 4 ] ||
        complain "$name --help"
done <names
python3 - <<'PYTHON'
import json
names = open('names').read().split('\n')[:-1]
lines = open('log').read().split('\n')
assert lines.pop() == '', 'no end of line'
assert len(lines) == len(names), (len(lines), len(names))
members = 'schema qcbm host image image_id file_id started seconds rc error warnings details result'.split()
for name, line in zip(names, lines):
    r = json.loads(line)
    assert list(r) == members, r
    assert r['schema'] == 'qcbm.%s/1' % name.replace(' ', '.'), r
    assert (r['rc'], r['result'], r['details']) == (1, None, None), r
    assert r['error']['code'] == 'USAGE' and r['error']['offset'] is None, r
    wrong = "qcbm checkpoint does not know 'x'" if name == 'checkpoint' else "unrecognized option '--nosuch'"
    assert r['error']['message'] == wrong or name == 'checkpoint', r
    assert len(line) < 4096
PYTHON
