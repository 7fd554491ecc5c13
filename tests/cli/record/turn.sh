# turn.sh - a line that another run is writing is not taken for one that was cut short
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm info --record=log image.qcow2
line=$(cat log)
(
    flock 9
    printf '%s' "${line:0:100}" >&9
    touch half
    sleep 0.3
    printf '%s\n' "${line:100}" >&9
) 9>>log &
until [ -e half ]; do sleep 0.01; done
qcbm info --record=log image.qcow2
wait
[ "$(wc -l <log)" = 3 ] || complain "$(cat log)"
[ "$(sort -u log | grep -c '^{"schema".*}$')" = 2 ] || complain "$(cat log)"
