# list_usage.sh - takes one file and no operation
# SPDX-License-Identifier: MIT
for arguments in '--list' '--list a b' '--list --add a' '--list --dry-run a' '--list -g 4k a' '--list -b x a' '--list --undo u a'; do
    # shellcheck disable=SC2086
    if qcbm bitmap $arguments; then
        complain "accepted: $arguments"
    fi
done
