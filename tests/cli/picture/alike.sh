# alike.sh - in an SVG places that are alike and lie in a square are one rectangle, however many they are
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 a.qcow2 1M
for width in 2 4 32; do
    qcbm picture -q --force --layout=hilbert --width "$width" -o a.svg a.qcow2
    grep -c '<rect class="k[0-9]*l[0-9]*" ' a.svg
done
