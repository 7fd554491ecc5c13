# damaged.sh - raw values and what is wrong with them, of images that nothing else opens
# SPDX-License-Identifier: MIT
fixture one-bitmaps
poke image.qcow2 $(($(bitmap_directory) + 17)) 3f
fails qemu-img info image.qcow2 2>/dev/null
qcbm dump image.qcow2 bitmaps 0 | grep -E 'granularity|verdict'
poke image.qcow2 20 00000063
fails qcbm info image.qcow2
qcbm dump image.qcow2 header | grep BAD
fails qcbm dump image.qcow2 l2
head -c 50 image.qcow2 >short
qcbm dump short header >/dev/null
: >empty
json "v[0]['problem'] and v[0]['value'] == 0" qcbm dump --output=json empty header
