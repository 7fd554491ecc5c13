# empty_names.sh - a backing file name or format that is empty, or begins with NUL, is none
# SPDX-License-Identifier: MIT
prepare() { cp ../image.qcow2 .; }
as_theirs() {
    same_as_qemu_img "$@"
    as_qemu_img "$1" <ours.out | diff theirs.out - || complain "other output: $*"
}
truncate -s 1M base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2 1M
poke image.qcow2 116 00000000 # the length of the extension with the format; what follows is its end
poke image.qcow2 120 0000000000000000
as_theirs info image.qcow2
poke image.qcow2 "$(peek image.qcow2 8 8)" 00
as_theirs info image.qcow2
qcbm map image.qcow2
fails_with_2() { "$@" >verdict || [ $? -eq 2 ]; }
fails_with_2 qcbm check --untrusted image.qcow2
grep '^reason: \[name-characters\]' verdict >/dev/null || complain "a name with NUL is harmless"
