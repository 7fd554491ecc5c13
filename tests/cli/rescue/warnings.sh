# warnings.sh - what is told on stderr, with -q as well: a backing file in doubt, another folder, --size without use
# SPDX-License-Identifier: MIT
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2
mkdir other
qcbm rescue -q -o same.qcow2 image.qcow2
qcbm rescue -q -o other/new.qcow2 image.qcow2
qcbm rescue -q --size=2M --dry-run image.qcow2
qemu-io -c 'write -q 0 64k' image.qcow2
poke image.qcow2 0 "$(printf '00%.0s' {1..512})"
code=0
qcbm rescue -q --size=1M --dry-run image.qcow2 || code=$?
[ "$code" -eq 3 ] || complain "exit code $code"
