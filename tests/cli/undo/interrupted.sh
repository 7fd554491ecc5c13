# interrupted.sh - a change that was killed half-way is taken back, and it is told; one killed before it began is too
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 first
kill_at() { # SYSTEM CALL, WHICH OF THEM, UNDO FILE
    # LeakSanitizer, in a build that has it, does not work under strace
    (
        ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -o strace.out -e "inject=$1:signal=KILL:when=$2" \
            qcbm bitmap --add --undo "$3" image.qcow2 new || true
    ) >kill.log 2>&1
    grep -q 'killed by SIGKILL' strace.out
}
kill_at fdatasync 4 one
if cmp -s image.qcow2 first; then complain "killed too early"; fi
qcbm undo image.qcow2 one
cmp image.qcow2 first
# the undo file is complete, the image untouched
kill_at fdatasync 2 two
cmp image.qcow2 first
qcbm undo image.qcow2 two
kill_at fdatasync 1 three
cmp image.qcow2 first
fails unchanged image.qcow2 qcbm undo image.qcow2 three
kill_at pwrite64 1 four
fails unchanged image.qcow2 qcbm undo image.qcow2 four
