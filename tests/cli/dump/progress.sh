# progress.sh - goes to stderr, and leaves the dump alone
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm dump overlay.qcow2 l2 >without
qcbm dump -p overlay.qcow2 l2 2>progress >with
cmp without with
tr '\r' '\n' <progress
