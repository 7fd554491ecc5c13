# small_stack.sh - a stack of 64 KiB is enough: callers of the library may have such threads
# SPDX-License-Identifier: MIT
[ -z "${ASAN_OPTIONS+set}" ] || exit 0 # the sanitizers' own frames are larger
fixture one-bitmaps
qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 overlay.qcow2
qemu-io -f qcow2 -c 'write -q 0 64k' overlay.qcow2
cp overlay.qcow2 lost.qcow2
poke lost.qcow2 0x30000 0000000000000000 # its L2 table leaks
poke overlay.qcow2 0x20000 00000000 # no refcounts: everything is looked for
small() { (ulimit -s 64 && "$@" >out 2>err) || [ $? -lt 64 ] || complain "ended by a signal: $*"; }
for file in image.qcow2 overlay.qcow2 lost.qcow2; do
    small qcbm check "$file"
    small qcbm check --untrusted "$file"
    small qcbm synth --dry-run "$file" x
    small qcbm map "$file"
    small qcbm dump "$file" refcounts
    small qcbm info --usage "$file"
done
small qcbm bitmap --add image.qcow2 small
small qcbm bitmap --export=file image.qcow2 b0
small qcbm bitmap --import=file image.qcow2 again
small qcbm extents image.qcow2 b0
