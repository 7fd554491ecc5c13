# closed_descriptors.sh - an image never becomes descriptor 1 or 2, where messages go
# SPDX-License-Identifier: MIT
fixture one-bitmaps
unchanged image.qcow2 qcbm info image.qcow2 >&- 2>/dev/null && complain 'succeeded without stdout'
unchanged image.qcow2 qcbm info image.qcow2 </dev/null >&- 2>&- && complain 'succeeded without stdout and stderr'
unchanged image.qcow2 qcbm bitmap --add image.qcow2 b0 2>&- && complain 'added twice'
qcbm extents image.qcow2 b0 <&-
