#!/bin/sh
# slice.sh LIST [SLICE SLICES] - job.sh for every SLICES-th image of LIST, a path a line, from the SLICE-th on (0 is the first)
#
# SPDX-License-Identifier: MIT
#
# Without numbers they are those of the array of Slurm or of the Indexed Job of Kubernetes that this runs in, else all of LIST.
# An image that fails does not keep the others from their turn. What a killed slice has not come to has no line, and the
# question 02 finds it.
#
# Exit code: 0 if all images have a good checkpoint, 75 if some were in use and nothing worse, 126 or 127 if the job could not be run
# at all, so that there are images without a record; else 1.
list=${1:?usage: slice.sh LIST [SLICE SLICES]}
slice=${2:-${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:-0}}}
slices=${3:-${SLURM_ARRAY_TASK_COUNT:-${FLEET_SLICES:-1}}}
job=${FLEET_JOB:-$(dirname "$0")/job.sh}

if ! [ -r "$list" ] || [ -d "$list" ] || ! [ "$slice" -ge 0 ] || ! [ "$slices" -gt "$slice" ]; then
    echo "slice.sh: no list '$list', or no slice $slice of $slices" >&2
    exit 1
fi
worst=0
number=0
while IFS= read -r image || [ -n "$image" ]; do
    if [ $((number % slices)) -eq "$slice" ] && [ -n "$image" ]; then
        code=0
        "$job" "$image" </dev/null || code=$?
        if [ "$worst" -lt 126 ] && [ "$code" -ne 0 ] && { [ "$code" -ne 75 ] || [ "$worst" -eq 0 ]; }; then
            worst=$code
        fi
    fi
    number=$((number + 1))
done <"$list"
case $worst in
    0 | 75 | 126 | 127) ;;
    *) worst=1 ;;
esac
exit "$worst"
