# dry_run.sh - prints the plan and leaves the file as it is
# SPDX-License-Identifier: MIT
fixture ten-overlay
chmod a-w overlay.qcow2
unchanged overlay.qcow2 qcbm synth --dry-run overlay.qcow2 b0
unchanged overlay.qcow2 qcbm synth --dry-run -q overlay.qcow2 b0
qcbm bitmap --list overlay.qcow2
