# granularity.sh - sizes are read as qemu-img reads them
# SPDX-License-Identifier: MIT
prepare() { qemu-img create -q -f qcow2 image.qcow2 10M; }
granularity_of() { qemu-img info --output=json "$1" | grep granularity || true; }
for size in 4k 4K 512b 512B 1M 1m 2G +4k ' 4k' 0.5k 4096. 4096.0 1.0000000001k 0x200 0X1000 0 0.00048828125M; do
    same_as_qemu_img bitmap --add -g "$size" image.qcow2 new
    [ "$(granularity_of ours/image.qcow2)" = "$(granularity_of theirs/image.qcow2)" ] || complain "not equal: $size"
done
for size in 1e3 0x1.8k 4kb 4KiB '4 k' 4q 1.5 1.5b 0xg 0x '' '4k ' inf nan 1..5k 1e1k 0200 1000 256 1.5k 8E \
    16777216P 9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616; do
    same_as_qemu_img bitmap --add -g "$size" image.qcow2 new
done
prepare
for size in .5k -0 -1; do # of which 7.2 and 10.0 say different things
    fails qcbm bitmap --add -g "$size" image.qcow2 new
done
