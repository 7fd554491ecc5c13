# usage_errors.sh - wrong use is refused
# SPDX-License-Identifier: MIT
for arguments in '' 'a' 'a b c' '--with=holes a b' '--with' '-q a b' '--layer a b' '--layer --since=b a' \
    '--to-snapshot=s a' '--from-snapshot=s --layer a' '--output=thin-delta a b' '--output=xen-bits --limit=1 a b' '--output=xen-json --offset=1 a b' '--output=xml a b'; do
    # shellcheck disable=SC2086
    if qcbm extents $arguments; then
        complain "accepted: $arguments"
    fi
done
