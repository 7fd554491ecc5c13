# made.sh - what is told of a new image, of one that would be made, and of one that is verified
# SPDX-License-Identifier: MIT
truncate -s 1M disk.raw
qcbm attach --dry-run --data disk.raw --bitmap b -g 32k meta.qcow2
[ ! -e meta.qcow2 ] || complain "a dry run makes an image"
qcbm attach --data disk.raw --bitmap b -g 32k --disabled meta.qcow2
qcbm attach --verify meta.qcow2
qcbm attach --reset meta.qcow2
qcbm attach -q --data disk.raw quiet.qcow2
