# letters.sh - in a pipe a cell is a letter, in 80 columns
# SPDX-License-Identifier: MIT
fixture one-bitmaps
export COLORTERM=truecolor TERM=xterm LC_ALL=C.UTF-8
qcbm picture image.qcow2
qcbm picture -b b0 image.qcow2
qcbm picture --host --layout=hilbert --width=16 image.qcow2
