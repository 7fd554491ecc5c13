# output_lost.sh - output that cannot be written makes the command fail
# SPDX-License-Identifier: MIT
fixture one-bitmaps
for arguments in '--help' '--version' 'info image.qcow2' 'info --output=json image.qcow2' 'synth --help' \
    'bitmap --list image.qcow2' 'extents image.qcow2 b0' 'extents --output=json image.qcow2 b0' \
    'synth --dry-run image.qcow2 new'; do
    # shellcheck disable=SC2086
    if qcbm $arguments >/dev/full; then
        complain "succeeded: $arguments"
    fi
done
