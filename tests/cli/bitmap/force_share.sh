# force_share.sh - reads while a writer is active, and never writes
# SPDX-License-Identifier: MIT
fixture one-bitmaps
start_writer image.qcow2
fails qcbm bitmap --list image.qcow2
fails qcbm bitmap --clear image.qcow2 b0
json 'v["bitmaps"][0]["flags"] == ["in-use", "auto"]' qcbm bitmap --list -U --output=json image.qcow2
unchanged image.qcow2 qcbm bitmap --dry-run -U -q --add image.qcow2 new
qcbm bitmap --clear -U image.qcow2 b0 && complain 'accepted -U for writing'
true
