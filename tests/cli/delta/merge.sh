# merge.sh - deltas of streams made one: what is told, and what is refused
# SPDX-License-Identifier: MIT
# diff FILE FROM TO RECORDS: an rbd diff of a disk of 1 MiB, without a sidecar file, as rbd export-diff makes it
diff() {
    printf 'rbd diff v1\nf\1\0\0\0%st\1\0\0\0%ss\0\0\020\0\0\0\0\0%be' "$2" "$3" "$4" >"$1"
}
diff monday a b 'z\0\0\0\0\0\0\0\0\0\020\0\0\0\0\0\0'
diff tuesday b c 'w\0\0\0\0\0\0\0\0\02\0\0\0\0\0\0\0hi'
misused() { if qcbm delta "$@"; then complain "accepted: $*"; fi; }
qcbm delta --merge monday tuesday both | sed 's/^id: [0-9a-f]\{32\}$/id: ID/'
qcbm delta --merge --output=json --note "two days" monday tuesday json | grep -e form -e bytes
qcbm delta --info json | grep note
qcbm delta --merge monday tuesday - >piped 2>told
[ ! -s told ] || complain "$(cat told)"
cmp both piped
qcbm delta --info both | grep -e '^records' -e '^size'
misused --merge monday
misused --merge -O qcow2 monday tuesday out
misused --merge --bitmap=x monday tuesday out
misused --merge --dry-run monday tuesday out
misused --merge --info monday tuesday out
misused --force-parent monday
fails qcbm delta --merge tuesday monday out
fails qcbm delta --merge monday missing out
fails unchanged both qcbm delta --merge monday tuesday both
head -c 50 tuesday >short
fails qcbm delta --merge monday short out
[ ! -e out ] || complain "out is there"
[ ! -e out.json ] || complain "out.json is there"
qcbm delta --merge -q --force-parent tuesday monday out
