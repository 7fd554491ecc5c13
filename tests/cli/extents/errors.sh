# errors.sh - one line, nothing on stdout
# SPDX-License-Identifier: MIT
make_image
make_inconsistent_copy() {
    cp image.qcow2 whole.qcow2
    make_inconsistent
    mv image.qcow2 inconsistent.qcow2
    mv whole.qcow2 image.qcow2
}
make_inconsistent_copy
fails qcbm extents image.qcow2 missing
fails qcbm extents --output=json image.qcow2 missing
fails qcbm extents inconsistent.qcow2 b0
fails qcbm extents --output=json inconsistent.qcow2 b0
fails qcbm extents missing.qcow2 b0
fails qcbm extents -f raw image.qcow2 b0
