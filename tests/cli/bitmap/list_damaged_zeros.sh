# list_damaged_zeros.sh - of a directory entry of zeros nothing is told as if it were known
# SPDX-License-Identifier: MIT
fixture one-bitmaps
at=$(bitmap_directory)
poke image.qcow2 "$at" "$(printf '%0128d' 0)"
qcbm bitmap --list image.qcow2
json 'v["bitmaps"][0]["granularity"] == 0' qcbm bitmap --list --output=json image.qcow2
