# grown_tail.sh - is clean, noted where the base is looked at; --dirty-tail marks it
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img resize -q overlay.qcow2 12M
json 'v["dirty-bytes"] == 1114112' qcbm synth --dry-run --output=json overlay.qcow2 b0
json 'v["dirty-bytes"] == 1114112 + 2097152' qcbm synth --dry-run --dirty-tail --output=json overlay.qcow2 b0
json 'v["dirty-bytes"] == 1114112 and len(v["notes"]) == 1' \
    qcbm synth --dry-run --since base.qcow2 --output=json overlay.qcow2 b0
