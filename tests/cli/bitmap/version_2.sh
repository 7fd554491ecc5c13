# version_2.sh - says how to upgrade the image
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 -o compat=0.10 image.qcow2 1M
fails unchanged image.qcow2 qcbm bitmap --add image.qcow2 new
