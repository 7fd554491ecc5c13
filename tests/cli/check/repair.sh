# repair.sh - the options of a repair, and that of a sound image nothing is written
# SPDX-License-Identifier: MIT
fixture two-65536
before=$(md5sum <image.qcow2)
for level in leaks all bitmaps; do
    qcbm check -r $level image.qcow2 >out 2>err
    qemu-img check image.qcow2 >theirs
    diff theirs out
    [ ! -s err ]
    qcbm check -r $level --dry-run image.qcow2 >out
    diff theirs out
done
json 'v["repairs"] == [] and v["dry-run"]' qcbm check -r all --dry-run --output=json image.qcow2
fails qcbm check -r some image.qcow2 2>err
grep -q "expecting 'leaks', 'all' or 'bitmaps'" err
fails qcbm check --dry-run image.qcow2 2>err
grep -q 'go with -r only' err
fails qcbm check -r all --untrusted image.qcow2 2>/dev/null
fails qcbm check -r all -U image.qcow2 2>/dev/null
[ "$before" = "$(md5sum <image.qcow2)" ]
