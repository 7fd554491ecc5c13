# usage_errors.sh - wrong use is refused
# SPDX-License-Identifier: MIT
for arguments in '' 'a' 'a b c' '--with=holes a b' '--with' '-q a b'; do
    # shellcheck disable=SC2086
    if qcbm extents $arguments; then
        complain "accepted: $arguments"
    fi
done
