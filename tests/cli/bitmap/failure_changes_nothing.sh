# failure_changes_nothing.sh - if one operation fails, none is done
# SPDX-License-Identifier: MIT
fixture one-bitmaps
fails unchanged image.qcow2 qcbm bitmap --add --merge missing image.qcow2 new
fails unchanged image.qcow2 qcbm bitmap --clear --disable --add image.qcow2 b0
fails unchanged image.qcow2 qcbm bitmap --remove --remove image.qcow2 b0
fails unchanged image.qcow2 qcbm bitmap --remove --add -g 3k image.qcow2 b0
# the hint names the image, as a shell takes it, unless it could be the other one
cp image.qcow2 'a b.qcow2'
fails unchanged 'a b.qcow2' qcbm bitmap --remove 'a b.qcow2' missing
fails unchanged image.qcow2 qcbm bitmap --add --merge missing -b 'a b.qcow2' image.qcow2 new
