# damaged.sh - figures and exit code 1 in a dry run; nothing is attached
# SPDX-License-Identifier: MIT
fixture ten-overlay
l1=$(peek overlay.qcow2 40 8)
l2=$(($(peek overlay.qcow2 "$l1" 8) & 0x00fffffffffffe00))
poke overlay.qcow2 $((l2 + 8 * 100)) 8000000000050200 # guest 6.25 MiB: a host offset inside a cluster
fails unchanged overlay.qcow2 qcbm synth overlay.qcow2 b0
unchanged overlay.qcow2 qcbm synth --dry-run overlay.qcow2 b0 2>/dev/null && complain 'exit code 0'
qcbm synth --dry-run --output=json overlay.qcow2 b0 >damage 2>/dev/null && complain 'exit code 0'
json 'v["damaged-entries"] == 1 and v["plan"] is None and v["steps"] == []' cat damage
qcbm synth -q --dry-run overlay.qcow2 b0
