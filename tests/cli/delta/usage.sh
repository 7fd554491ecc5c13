# usage.sh - what a delta cannot be made of, or read from, is told with the name of the mistake
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 disk.qcow2 1M
qcbm bitmap --add disk.qcow2 b
wrong() { if qcbm delta "$@"; then complain "accepted: $*"; fi; }
wrong --info
wrong --info -
wrong --merge - d2 out
wrong --bitmap=b --layer disk.qcow2 out
wrong disk.qcow2 out
wrong --bitmap=b -O raw disk.qcow2 out
wrong --bitmap=b --id=foo disk.qcow2 out
if qcbm apply -o new disk.qcow2 -; then complain "accepted a pipe"; fi
[ ! -e out ] || complain "out is there"
qcbm delta --output=json --bitmap=b disk.qcow2 d1 | grep parent-id
qcbm delta --info d1 | grep verified
qcbm delta --info --output=json d1 | grep -e parent-id -e verified
qcbm delta --info --verify d1 | grep verified
