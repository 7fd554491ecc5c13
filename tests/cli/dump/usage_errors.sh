# usage_errors.sh - wrong use
# SPDX-License-Identifier: MIT
fixture one-bitmaps
for arguments in '' 'header x y' 'frob' 'header 1' 'l1 x' 'l1 2-1' 'l1 1+0'; do
    # shellcheck disable=SC2086
    qcbm dump image.qcow2 $arguments 2>&1 | grep -v '^Try'
done
