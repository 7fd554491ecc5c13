# inconsistent.sh - an inconsistent bitmap can be removed and nothing else
# SPDX-License-Identifier: MIT
prepare() { fixture one-in-use; }
for operation in --clear --enable --disable '--merge frozen' --add '--rename x' '--rotate x' '--intersect b0' \
    '--subtract frozen' '--regranularise 4k' '--set 0:1' '--unset 0:1M' '--export x' '--copy-to other.qcow2'; do
    fixture one-in-use
    qemu-img create -q -f qcow2 other.qcow2 1M
    # shellcheck disable=SC2086
    fails qcbm bitmap $operation image.qcow2 b0
done
same_as_qemu_img bitmap --remove image.qcow2 b0
