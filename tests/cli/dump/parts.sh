# parts.sh - each part, with its place
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm dump image.qcow2 l1
qcbm dump image.qcow2 l2 128k
qcbm dump image.qcow2 l2 0-64k
qcbm dump image.qcow2 bitmaps 0 | grep -E 'name|bits\['
json "all('offset' in i and 'name' in i for i in v)" qcbm dump --output=json image.qcow2 refcounts 0+1M
