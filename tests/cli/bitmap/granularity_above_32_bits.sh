# granularity_above_32_bits.sh - is refused, where qemu-img cuts it to 32 bits
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 image.qcow2 10M
for size in 4294967808 4294971392 8589938688 4G 8G 1P 4294967296; do
    fails unchanged image.qcow2 qcbm bitmap --add -g "$size" image.qcow2 new
    fails unchanged image.qcow2 qcbm synth -g "$size" image.qcow2 new
done
