# usage_errors.sh - two names, and nothing else
# SPDX-License-Identifier: MIT
fixture one-bitmaps
for arguments in '' 'a' 'a b c' '--frob a b'; do
    # shellcheck disable=SC2086
    if qcbm undo $arguments; then complain "accepted: $arguments"; fi
done
fails qcbm undo -f raw image.qcow2 undo
