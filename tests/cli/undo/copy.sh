# copy.sh - an undo that was tried on a copy of the image, or cut short there, allows none of the image that was refused
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 image.qcow2
qemu-io -f qcow2 -c 'write -q 0 2M' image.qcow2
qemu-img bitmap --add image.qcow2 b
for _ in 1 2 3 4; do # until QEMU moves no bitmap any more when it closes the image
    qemu-io -f qcow2 -c 'read -q 0 1' image.qcow2
done
qcbm bitmap --disable --undo=undo image.qcow2 b
cp -p image.qcow2 copy.qcow2
cp -p image.qcow2 second.qcow2
for n in 1 2 3 4; do # a guest, of which nothing but the time is left
    qemu-io -f qcow2 -c "write -q -P 7 ${n}00k 64k" image.qcow2
done
refused() {
    fails unchanged image.qcow2 qcbm undo image.qcow2 undo
    touch -d '-1 hour' image.qcow2
    fails unchanged image.qcow2 qcbm undo image.qcow2 undo
}
refused
(
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -o strace.out -e 'inject=pwrite64:signal=KILL:when=3' \
        qcbm undo copy.qcow2 undo || true
) >kill.log 2>&1
grep -q 'killed by SIGKILL' strace.out
refused
qcbm undo --quiet copy.qcow2 undo # which was cut short, and is repeated
refused
# the time of the change is known still
qcbm undo --quiet second.qcow2 undo
cmp copy.qcow2 second.qcow2
refused
