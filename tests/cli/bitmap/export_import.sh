# export_import.sh - every format there and back, by file and pipe; what cannot be trusted is refused
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm bitmap --set 1000k:1 --regranularise 4k --quiet image.qcow2 b0
qemu-img create -q -f qcow2 copy.qcow2 1M
qcbm bitmap --export file image.qcow2 b0
fails qcbm bitmap --export file image.qcow2 b0
qcbm bitmap --export file --force --output=json image.qcow2 b0
qcbm bitmap --export raw --format=raw image.qcow2 b0
qcbm bitmap --export json --format=json image.qcow2 b0
qcbm bitmap --export none --dry-run image.qcow2 b0
[ ! -e none ] || complain 'a dry run made a file'
qcbm extents --output=json image.qcow2 b0 | cmp - json
for format in qcbm raw json; do
    case $format in qcbm) size='' ;; *) size='-g 4k' ;; esac
    # shellcheck disable=SC2086
    qcbm bitmap --export - --format=$format image.qcow2 b0 |
        qcbm bitmap --import - --format=$format $size copy.qcow2 $format
    qcbm extents image.qcow2 b0 >theirs
    qcbm extents copy.qcow2 $format | cmp - theirs
done
qemu-img check -q copy.qcow2
# a file and a change in one commit; one that fails changes nothing
qcbm bitmap --remove --import file --disable --rename later copy.qcow2 qcbm
json '[b["name"] for b in v["bitmaps"]] == ["raw", "json", "later"]' qcbm bitmap --list --output=json copy.qcow2
fails unchanged copy.qcow2 qcbm bitmap --remove --import raw copy.qcow2 later
head -c 90 file >half
fails unchanged copy.qcow2 qcbm bitmap --import half copy.qcow2 new
poke file 90 ff
fails unchanged copy.qcow2 qcbm bitmap --import file copy.qcow2 new
# a device that is full
[ ! -w /dev/full ] || fails qcbm bitmap --export /dev/full image.qcow2 b0
fails qcbm bitmap --export new --format=json image.qcow2 missing
[ ! -e new ] || complain 'a file without content is left'
# with --force the old file stays until the new one is complete
fails unchanged file qcbm bitmap --export file --force image.qcow2 missing
ln -s file link
qcbm bitmap --export link --force --format=raw --quiet image.qcow2 b0
[ -L link ] || complain 'a link was replaced'
cmp file raw
for left in file.* link.*; do [ ! -e "$left" ] || complain "$left is left"; done
# what is wrong with the image is not said to be in the file
qemu-img create -q -f qcow2 empty.qcow2 0
for format in raw json; do fails qcbm bitmap --import raw --format=$format -g 4k empty.qcow2 new; done
# disks are not replaced, whatever --force says
qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 1M
qcbm bitmap --add data.qcow2 b
mkdir folder
qemu-img create -q -f raw folder/base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw folder/over.qcow2
qcbm bitmap --add folder/over.qcow2 b
fails unchanged data.raw qcbm bitmap --export data.raw --force data.qcow2 b
fails unchanged folder/base.raw qcbm bitmap --export folder/base.raw --force folder/over.qcow2 b
fails unchanged copy.qcow2 qcbm bitmap --export copy.qcow2 --force data.qcow2 b
fails unchanged data.qcow2 qcbm bitmap --export data.qcow2 --force data.qcow2 b
