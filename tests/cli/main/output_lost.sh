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
# What was done before is said: who repeats the command would be told that it is there already.
lost() {
    if qcbm "$@" >/dev/full; then complain "succeeded: $*"; fi
    if qcbm "$@" >&- 2>closed; then complain "succeeded, closed: $*"; fi
}
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 overlay.qcow2
qcbm bitmap --add --undo=undo image.qcow2 new
lost synth overlay.qcow2 made
grep -q 'already exists' closed
lost synth --replace overlay.qcow2 made
lost bitmap --output=json --remove overlay.qcow2 made
lost bitmap --export=out image.qcow2 b0
lost undo image.qcow2 undo
lost undo image.qcow2 undo # nothing to undo
