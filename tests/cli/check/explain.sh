# explain.sh - what --explain says comes from the table of problems, on stderr; stdout is that of qemu-img.
# SPDX-License-Identifier: MIT
fixture one-in-use
qcbm check --explain image.qcow2 >out 2>err
grep -q '^qcbm: warning: \[bitmap-in-use\] bitmap .b0. is marked in use$' err
grep -qF "    cure: 'qcbm bitmap --revive image.qcow2 BITMAP' makes it cover all" err
qemu-img check image.qcow2 >theirs
diff theirs out
json 'v["check-errors"] == 0 and v["problems"][0]["code"] == "bitmap-in-use"' qcbm check --output=json image.qcow2 2>err2
