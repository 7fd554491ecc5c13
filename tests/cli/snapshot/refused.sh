# refused.sh - only the list
# SPDX-License-Identifier: MIT
fixture one-bitmaps
fails qcbm snapshot -c one image.qcow2
fails qcbm snapshot -d one image.qcow2
fails qcbm snapshot -a one image.qcow2
qcbm snapshot image.qcow2 || true
