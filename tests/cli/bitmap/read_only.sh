# read_only.sh - an image that is named as read-only is read, and not written to, by whatever writes
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 overlay.qcow2
qcbm bitmap --add --undo=undo image.qcow2 new
q='driver=qcow2,file.filename=image.qcow2'
refused() { fails unchanged image.qcow2 "$@"; }
for what in read-only=on file.read-only=on read-only=true read-only=off,read-only=on read-only=off,file.read-only=yes; do
    refused qcbm bitmap --add --image-opts "$q,$what" x
    refused qemu-img bitmap --add --image-opts "$q,$what" x 2>/dev/null
    qcbm bitmap --add --dry-run --image-opts "$q,$what" x >/dev/null
    qcbm bitmap --list --image-opts "$q,$what" >/dev/null
done
json='json:{"driver":"qcow2","read-only":true,"file":{"driver":"file","filename":"image.qcow2"}}'
refused qcbm bitmap --remove "$json" b0
refused qcbm bitmap --rename=other 'json:{"driver":"qcow2","file":{"read-only":"on","filename":"image.qcow2"}}' b0
refused qcbm bitmap --prune=b0 --keep=0 "$json"
refused qcbm bitmap --copy-to "$json" --as copied image.qcow2 b0
refused qcbm bitmap --merge b0 -b image.qcow2 -F qcow2 "$json" frozen
refused qcbm synth "$json" x
refused qcbm synth --into "$json" overlay.qcow2 x
refused qcbm undo "$json" undo
# as a source it is read; what is switched off again, or named so only elsewhere, is written to
qcbm bitmap --merge b0 -b "$json" image.qcow2 frozen
qcbm bitmap --add --image-opts "$q,read-only=on,read-only=off" y
qcbm undo --dry-run --force "$json" undo >/dev/null 2>&1 || true
qcbm extents "$json" b0 >/dev/null
