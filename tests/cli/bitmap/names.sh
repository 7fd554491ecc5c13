# names.sh - images are named as for qemu-img: file:F, json:{...}, --image-opts; the image itself as source, with its format
# SPDX-License-Identifier: MIT
fixture one-bitmaps
json='json:{"driver":"qcow2","file":{"driver":"file","filename":"image.qcow2"}}'
qcbm bitmap --merge b0 -b image.qcow2 -F qcow2 image.qcow2 frozen
qcbm bitmap --merge b0 -b file:image.qcow2 "$json" frozen
qcbm bitmap --merge b0 -b "$json" file:./image.qcow2 frozen
qcbm bitmap --image-opts --add driver=qcow2,file.filename=image.qcow2 by-options
qcbm bitmap --copy-to file:image.qcow2 --as copied "$json" b0
qemu-img bitmap --image-opts --add driver=qcow2,file.filename=image.qcow2 theirs
qcbm synth --image-opts driver=qcow2,file.filename=image.qcow2 synth >/dev/null
qcbm extents "$json" frozen
qcbm bitmap --list "$json" | cut -d ' ' -f 1
qemu-img check -q image.qcow2
# An image never names a driver: neither is followed where it comes from a file.
qemu-img create -q -u -f qcow2 -b "$json" -F qcow2 overlay.qcow2 1M
fails qcbm map overlay.qcow2
