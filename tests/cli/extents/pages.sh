# pages.sh - pages of one extent and of two, from the end of the one before, are all of them
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm synth -q overlay.qcow2 b0
qcbm extents overlay.qcow2 b0 >all
[ "$(wc -l <all)" -gt 3 ]
for limit in 1 2; do
    offset=0
    : >pages
    while qcbm extents --offset "$offset" --limit "$limit" overlay.qcow2 b0 >page && [ -s page ]; do
        cat page >>pages
        offset=$(awk 'END { print $1 + $2 }' page)
    done
    diff all pages
done
json 'len(v) == 1 and v[0]["offset"] == 1' qcbm extents --offset 1 --limit 1 --output json overlay.qcow2 b0
qcbm extents --limit 0 overlay.qcow2 b0 2>&1 || echo "exit $?"
