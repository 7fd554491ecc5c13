# verbs_errors.sh - each refusal, in one line; nothing has changed
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qemu-img create -q -f qcow2 larger.qcow2 2M
qemu-img bitmap --add larger.qcow2 b0
refused() { fails unchanged image.qcow2 qcbm bitmap "$@"; }
usage() { # as above, with the line that names --help
    unchanged image.qcow2 qcbm bitmap "$@" && complain "accepted: $*"
    true
}
refused --rename frozen image.qcow2 b0
refused --rename '' image.qcow2 b0
refused --rename x image.qcow2 missing
refused --rotate frozen image.qcow2 b0
refused --rotate x image.qcow2 frozen
refused --intersect missing image.qcow2 b0
refused --subtract b0 -b larger.qcow2 image.qcow2 b0
refused --regranularise 1000 image.qcow2 b0
refused --regranularise x image.qcow2 b0
refused --set 1M:1 image.qcow2 b0
refused --set 0:8E image.qcow2 b0
refused --unset 4k image.qcow2 b0
refused --unset 4k:0 image.qcow2 b0
refused --set 4k:4q image.qcow2 b0
refused --import missing image.qcow2 new
refused --import image.qcow2 image.qcow2 new
refused --import image.qcow2 --format=raw image.qcow2 new
refused --import image.qcow2 --format=raw -g 64k image.qcow2 new
refused --import . image.qcow2 new
refused --export image.qcow2 image.qcow2 b0
refused --export larger.qcow2 image.qcow2 b0
refused --export nowhere/x image.qcow2 b0
refused --export x image.qcow2 missing
refused --export - --output=json image.qcow2 b0
refused --copy-to larger.qcow2 image.qcow2 b0
refused --copy-to image.qcow2 image.qcow2 b0
refused --copy-to missing image.qcow2 b0
[ ! -e x ] || complain 'a file of a failed export is left'
# after the first operation, too, which then is not done
refused --disable --rename frozen image.qcow2 b0
usage --export x --disable image.qcow2 b0
usage --copy-to larger.qcow2 --export x image.qcow2 b0
usage --prune '*' image.qcow2 b0
usage --copy-to larger.qcow2 image.qcow2
usage --as x --add image.qcow2 b1
usage --keep 2 --add image.qcow2 b1
usage --force --add image.qcow2 b1
usage --format raw --add image.qcow2 b1
usage --import x --format tar image.qcow2 b1
usage --export x --undo y image.qcow2 b0
usage --prune '*' -U image.qcow2
