# missing_option.sh - where an option is missing its name is told, not only what it is for
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 1M
qemu-img snapshot -c old image.qcow2
qemu-io -c 'write -q 0 64k' image.qcow2
qemu-img snapshot -c new image.qcow2
qemu-img bitmap --add image.qcow2 there
fails unchanged image.qcow2 qcbm synth --refine --since-snapshot=old image.qcow2 b0
fails unchanged image.qcow2 qcbm synth --refine --merge image.qcow2 there
fails unchanged image.qcow2 qcbm synth --since-snapshot=old --snapshot=new image.qcow2 b0

json 'v["refine"]["against"] is None' qcbm synth --dry-run --refine --output=json image.qcow2 b0
json 'v["refine"]["against"] == "snapshot:old"' \
    qcbm synth --dry-run --refine-against=snapshot:old --since-snapshot=old --output=json image.qcow2 b0
