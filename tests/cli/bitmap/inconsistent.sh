# inconsistent.sh - an inconsistent bitmap can be removed and nothing else
# SPDX-License-Identifier: MIT
prepare() { make_inconsistent; }
for operation in --clear --enable --disable '--merge frozen' --add; do
    make_inconsistent
    # shellcheck disable=SC2086
    fails qcbm bitmap $operation image.qcow2 b0
done
same_as_qemu_img bitmap --remove image.qcow2 b0
