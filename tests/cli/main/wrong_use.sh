# wrong_use.sh - what is no command is refused as qemu-img refuses it
# SPDX-License-Identifier: MIT
for arguments in '' 'frobnicate' '--frobnicate' '-X info'; do
    # shellcheck disable=SC2086
    if qcbm $arguments; then
        complain "accepted: $arguments"
    fi
done
