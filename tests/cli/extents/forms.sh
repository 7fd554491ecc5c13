# forms.sh - each form, to the byte
# SPDX-License-Identifier: MIT
fixture ten-overlay
qcbm synth -q overlay.qcow2 b0
for form in human json jsonl ovirt csi csi-lines rbd xen-json; do
    echo "$form"
    qcbm extents "--output=$form" overlay.qcow2 b0
done
echo zeros
for form in jsonl ovirt rbd; do
    qcbm extents --with=zero "--output=$form" --limit=2 overlay.qcow2 b0
done
echo layer
qcbm extents --layer --output=ovirt overlay.qcow2
qcbm extents --output=xen-bits overlay.qcow2 b0 | od -An -tx1
echo nothing
qcbm bitmap --add overlay.qcow2 none
for form in ovirt csi csi-lines rbd xen-json; do
    qcbm extents "--output=$form" overlay.qcow2 none
done
