# guest.sh - a guest that leaves no trace but the time of its writes: no bitmap that lacks them comes back unasked
# SPDX-License-Identifier: MIT
make() { # an image with data and the one bitmap b, which an undo of --remove brings back
    rm -f base.qcow2 image.qcow2 undo
    qemu-img create -q -f qcow2 base.qcow2 8M
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 image.qcow2
    qemu-io -c 'write -q 0 1M' image.qcow2
    qemu-img bitmap --add image.qcow2 b
    [ "$1" != frozen ] || qemu-img bitmap --disable image.qcow2 b
    cp -p image.qcow2 first
    qcbm bitmap --remove --undo=undo image.qcow2 b
}
guest() { qemu-io -c 'write -q -P 7 0 64k' image.qcow2; }
writer() { json "v['writer'] == '$1'" qcbm undo --output=json --dry-run "${@:2}" image.qcow2 undo; }

make recording
cp -p image.qcow2 after
writer none
guest
fails unchanged image.qcow2 qcbm undo image.qcow2 undo
fails unchanged image.qcow2 qcbm undo --dry-run image.qcow2 undo
writer seen --force
qcbm undo --quiet --force image.qcow2 undo
# what the warning means, and the cure
qcbm extents image.qcow2 b
qcbm synth --quiet --merge image.qcow2 b
qcbm extents image.qcow2 b
# a copy of the image may be one that a guest has had
make recording
cp image.qcow2 copy.qcow2
fails unchanged copy.qcow2 qcbm undo copy.qcow2 undo
# a bitmap that does not record lacks nothing
make frozen
guest
writer none
qcbm undo --quiet image.qcow2 undo
# the time comes back with the content, so that changes can be undone one after the other
make recording
touched=$(stat -c %y image.qcow2)
qcbm bitmap --add --undo=second image.qcow2 c
qcbm undo --quiet image.qcow2 second
[ "$(stat -c %y image.qcow2)" = "$touched" ] || complain 'the time of the last write is another'
qcbm undo --quiet image.qcow2 undo
cmp image.qcow2 first
[ "$(stat -c %y image.qcow2)" = "$(stat -c %y first)" ] || complain 'the time of the last write is another'

# a change that was killed behind its switch: soon after it is undone, with a warning; if the image was written later it is not
kill_change() {
    make recording
    cp -p first image.qcow2
    rm undo
    (
        ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -o strace.out -e "inject=fdatasync:signal=KILL:when=$1" \
            qcbm bitmap --remove --undo=undo image.qcow2 b || true
    ) >kill.log 2>&1
    grep -q 'killed by SIGKILL' strace.out
}
kill_change 4
writer unknown
touch -d '3 minutes' image.qcow2
fails unchanged image.qcow2 qcbm undo image.qcow2 undo
writer seen --force
touch -d '30 seconds' image.qcow2
qcbm undo --quiet image.qcow2 undo
cmp image.qcow2 first
# an undo that was killed is repeated
make recording
(
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -o strace.out -e 'inject=pwrite64:signal=KILL:when=3' \
        qcbm undo image.qcow2 undo || true
) >kill.log 2>&1
grep -q 'killed by SIGKILL' strace.out
writer unknown
qcbm undo --quiet image.qcow2 undo
cmp image.qcow2 first
qcbm undo --quiet image.qcow2 undo
