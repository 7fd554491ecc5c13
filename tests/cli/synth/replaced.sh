# replaced.sh - what takes the place of a bitmap has its granularity, and records; what is merged into keeps its state
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img bitmap --add --disable -g 4k overlay.qcow2 b0
json 'v["enabled"] and v["granularity"] == 4096 and v["notes"] == ["the bitmap that is replaced was disabled, the new one records"]' \
    qcbm synth --replace --output=json overlay.qcow2 b0
json 'not v["enabled"] and v["granularity"] == 4096 and v["notes"] == []' \
    qcbm synth --replace --disabled --output=json overlay.qcow2 b0
json 'not v["enabled"]' qcbm synth --merge --disabled --output=json overlay.qcow2 b0
json 'v["enabled"] and v["granularity"] == 512' qcbm synth --replace -g 512 --output=json overlay.qcow2 b0
fails unchanged overlay.qcow2 qcbm synth --merge --disabled overlay.qcow2 b0
fails unchanged overlay.qcow2 qcbm synth --merge -g 4k overlay.qcow2 b0
json 'not v["enabled"]' qcbm synth --merge --disabled --output=json overlay.qcow2 new
# The entry of a bitmap in use says how fine it was, too.
qemu-img bitmap --add -g 8k overlay.qcow2 b1
(
    ulimit -c 0
    qemu-io -c 'write -q 0 64k' -c abort overlay.qcow2 || true
) >abort.log 2>&1
json 'v["enabled"] and v["granularity"] == 8192' qcbm synth --replace --output=json overlay.qcow2 b1
