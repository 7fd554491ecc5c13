# existing_name.sh - is refused without --replace or --merge
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img bitmap --add --disable -g 4k overlay.qcow2 b0
fails unchanged overlay.qcow2 qcbm synth overlay.qcow2 b0
json 'not v["enabled"] and v["granularity"] == 4096 and v["dirty-granules"] == 272' \
    qcbm synth --merge --output=json overlay.qcow2 b0
json 'v["enabled"] and v["granularity"] == 1048576 and v["dirty-granules"] == 2' \
    qcbm synth --replace -g 1M --output=json overlay.qcow2 b0
qemu-img info overlay.qcow2 | grep -A8 bitmaps:
