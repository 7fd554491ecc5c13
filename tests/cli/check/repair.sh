# repair.sh - the options of a repair, and that of a sound image nothing is written
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 4M
qemu-img bitmap --add image.qcow2 b0
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
for wrong in '-r some' --dry-run '--undo=u' --force '-r all --untrusted' '-r all -U'; do
    # shellcheck disable=SC2086 # words
    ! qcbm check $wrong image.qcow2 >out 2>err
    [ ! -s out ]
    [ "$(wc -l <err)" -eq 2 ]
done
[ "$before" = "$(md5sum <image.qcow2)" ]
! qcbm check -r image.qcow2 >out 2>err # the level forgotten
grep -q '^qcbm: hint: -r takes leaks, all or bitmaps' err
