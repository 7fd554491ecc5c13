# errors.sh - one line, nothing on stdout
# SPDX-License-Identifier: MIT
fixture one-in-use
mv image.qcow2 inconsistent.qcow2
fixture one-bitmaps
fails qcbm extents image.qcow2 missing
fails qcbm extents --output=json image.qcow2 missing
fails qcbm extents inconsistent.qcow2 b0
fails qcbm extents --output=json inconsistent.qcow2 b0
fails qcbm extents missing.qcow2 b0
fails qcbm extents -f raw image.qcow2 b0
