# layer.sh - what an image itself holds, with its backing file gone; what the layers above a base hold
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm extents --layer overlay.qcow2
qcbm extents --layer --with=zero --output=json overlay.qcow2
qcbm extents --since=base.qcow2 overlay.qcow2 >since
qcbm extents --layer overlay.qcow2 | cmp - since
qcbm extents --since=base.qcow2 --with=zero overlay.qcow2
fails qcbm extents --since=overlay.qcow2 overlay.qcow2
fails qcbm extents --since=missing.qcow2 overlay.qcow2
fails qcbm extents --since=overlay.qcow2 base.qcow2
mv base.qcow2 gone
qcbm extents --layer overlay.qcow2 | cmp - since
fails qcbm extents --since=base.qcow2 overlay.qcow2
