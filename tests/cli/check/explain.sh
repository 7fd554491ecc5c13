# explain.sh - what --explain says comes from the table of problems, on stderr; stdout is that of qemu-img.
# SPDX-License-Identifier: MIT
fixture one-in-use
qcbm check --explain image.qcow2 >out 2>err
grep -q '^qcbm: warning: \[bitmap-in-use\] bitmap .b0. is marked in use$' err
grep -qF "    cure: 'qcbm bitmap --revive-all image.qcow2' makes it cover all" err
qemu-img check image.qcow2 >theirs
diff theirs out
json 'v["check-errors"] == 0 and v["problems"][0]["code"] == "bitmap-in-use" and v["problems"][0]["repair-level"] == "bitmaps"' qcbm check --output=json image.qcow2 2>err2
# after a repair the line for those who have not begun yet is another one
qcbm check -r leaks image.qcow2 --dry-run --strict >out 2>err || true
grep -q "^qcbm: what is left: 'qcbm check --explain image.qcow2' tells what to do about it$" err
qcbm check -r bitmaps image.qcow2 >out 2>err
grep -q '^    2 bitmaps$' out
