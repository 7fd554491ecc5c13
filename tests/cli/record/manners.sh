# manners.sh - --nice asks for the idle class and gives the cache back; --max-read takes its time; both inside the sandbox
# SPDX-License-Identifier: MIT
fixture ten-overlay
trace() {
    ASAN_OPTIONS=detect_leaks=0 strace -f -o trace -y -e trace=ioprio_set,fadvise64,clock_nanosleep "$@" >/dev/null
}
count() { # a pattern, and how often it is to be there
    [ "$(grep -cE "$1" trace)" -ge "$2" ] || complain "fewer than $2 of $1 in $(cat trace)"
}
trace qcbm check overlay.qcow2
! grep -qE 'ioprio_set|DONTNEED|nanosleep' trace || complain "manners nobody asked for: $(cat trace)"
trace qcbm check --nice overlay.qcow2
count 'ioprio_set\(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE\(IOPRIO_CLASS_IDLE, 0\)\) = 0' 1
count 'fadvise64\([0-9]+<[^>]*/overlay.qcow2>, 0, 0, POSIX_FADV_DONTNEED\) = 0' 1
! grep -q nanosleep trace || complain "a wait"
# each read waits for its turn, and of a layer, too
trace qcbm map --nice --max-read=64M --record=log overlay.qcow2
count 'clock_nanosleep\(CLOCK_MONOTONIC, TIMER_ABSTIME, .* = 0' 3
count 'fadvise64\([0-9]+<[^>]*/base.qcow2>, 0, 0, POSIX_FADV_DONTNEED\) = 0' 1
fails qcbm check --max-read=fast overlay.qcow2
