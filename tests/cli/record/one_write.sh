# one_write.sh - one write(2) a run, of one line, whatever a name is made of; a device that is full is told
# SPDX-License-Identifier: MIT
fixture one-bitmaps
for name in $'two\nlines' 'quote"s' 'back\slash' $'\xff\xfe' $'\033[31m' 'image.qcow2'; do
    ASAN_OPTIONS=detect_leaks=0 strace -f -o trace -e trace=write,writev,pwrite64 -e write=none -y \
        qcbm info --record=log "$name" >/dev/null 2>&1 || true # most of them do not exist
    [ "$(grep -c '/log>' trace)" = 1 ] || complain "$(grep -c '/log>' trace) writes"
done
python3 -c 'import json
lines = open("log").read().split("\n")
print([json.loads(line)["image"] for line in lines[:-1]])'
code=0
qcbm bitmap --add --record=/dev/full image.qcow2 new 2>err || code=$?
[ "$code" = 1 ] || complain "exit code $code"
grep -o 'could not write the record of this run .*: .*; exit code without that: 0' err
# and so is that nobody reads it
python3 - <<'PYTHON'
import os, subprocess
nobody, end = os.pipe()
os.close(nobody)
done = subprocess.run(['qcbm', 'info', '--record=-', 'image.qcow2'], stdout=end, stderr=subprocess.PIPE, text=True)
assert done.returncode == 1 and 'of this run to \'-\': Broken pipe; exit code without that: 0' in done.stderr, done
PYTHON
# the beginning of a line that a full device has left does not take the next one with it
printf '%s' '{"sch' >torn
qcbm info --record=torn image.qcow2
qcbm info --record=torn image.qcow2
[ "$(wc -l <torn)" = 3 ] || complain "$(cat torn)"
tail -n 2 torn | python3 -c 'import json, sys
for line in sys.stdin:
    json.loads(line)'
