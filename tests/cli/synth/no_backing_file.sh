# no_backing_file.sh - claims no more than can be known
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm synth image.qcow2 b1
