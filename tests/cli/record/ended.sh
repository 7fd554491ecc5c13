# ended.sh - a run that a signal ends leaves its line; one that is killed outright leaves none, and nothing that goes on
# SPDX-License-Identifier: MIT
exec 3>&2 2>messages # the shell tells of those that were killed
trap 'grep -v "Killed " messages >&3 || true' EXIT
fixture ten-overlay
# a run without an end: of what it reads there is one byte a second
start() {
    qcbm check --max-read=1 --record=log overlay.qcow2 2>/dev/null &
    run=$!
    child=
    for _ in {1..1000}; do
        child=$(cat "/proc/$run/task/$run/children" 2>/dev/null) || true
        [ -z "$child" ] || break
        sleep 0.05
    done
    child=${child%% *}
    [ -n "$child" ] || complain "no child"
}
start
kill "$run"
code=0
wait "$run" || code=$?
[ "$code" = 143 ] || complain "exit code $code, not 143"
start
kill -KILL "$child"
code=0
wait "$run" || code=$?
[ "$code" = 137 ] || complain "exit code $code, not 137"
start
kill -KILL "$run"
code=0
wait "$run" || code=$?
[ "$code" = 137 ] || complain "exit code $code, not 137"
for _ in {1..1000}; do
    kill -0 "$child" 2>/dev/null || break
    sleep 0.05
done
! kill -0 "$child" 2>/dev/null || complain "the run goes on"
python3 - <<'PYTHON'
import json
records = [json.loads(line) for line in open('log')]
assert [r['rc'] for r in records] == [143, 137], records
assert [r['error'] for r in records] == [
    {'code': 'KILLED', 'message': 'ended by signal %d' % n, 'offset': None} for n in (15, 9)], records
assert all(r['result'] is None and r['details'] is None for r in records)
PYTHON
