# json.sh - size of a copy, with the bitmaps
# SPDX-License-Identifier: MIT
fixture one-bitmaps
json "v == {'required': 393216, 'fully-allocated': 1376256, 'bitmaps': 327680}" qcbm measure -O qcow2 --output=json image.qcow2
