#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `qcbm checkpoint` beside a real libvirt: checkpoints that were made while the machine was off, and mended, are accepted, and
# libvirt's incremental backups from them are right; and does verify say what libvirt says, of 200 random chains?
#
# Run by hand, as libvirt.sh is, which says what it needs:
#   QCBM=path/to/qcbm tests/recipes/checkpoint-libvirt.sh [CHAINS [SEED]]
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/recipes/libvirtd.sh
. "$here/libvirtd.sh"

# qcbm runs as whoever owns the images
checkpoint() { run "$QCBM" checkpoint "$@"; }

step "A machine that is off: full backup and checkpoint C, and libvirt is told of it"
run qemu-img create -q -f qcow2 disk/base.qcow2 256M
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 16M' -c 'write -q -P 0x12 100M 8M' disk/base.qcow2
define base.qcow2
run virsh dumpxml recipe > dom.xml
run mkdir xml
checkpoint create C --disk vda="$dir/disk/base.qcow2"
run qemu-img convert -f qcow2 -O qcow2 disk/base.qcow2 disk/full.qcow2
checkpoint xml C --domain dom.xml --folder xml | tee lines
run virsh -q checkpoint-create recipe xml/C.xml --redefine
[[ $(cat lines) == "virsh checkpoint-create recipe xml/C.xml --redefine" ]] || die "another line was printed"
cp xml/C.xml checkpoint-C.xml

step "It runs; an incremental backup since C by libvirt, with checkpoint D"
run qemu-io -f qcow2 -c 'write -q -P 0x21 50M 3M' -c 'write -q -z 100M 1M' disk/base.qcow2
start
validate C
backup_xml inc1.xml inc1.qcow2 C
checkpoint_xml new-D.xml D
backup inc1.xml new-D.xml
run virsh -q checkpoint-dumpxml recipe D > checkpoint-D.xml
stop
run qemu-img rebase -u -f qcow2 -b full.qcow2 -F qcow2 disk/inc1.qcow2
differ disk/full.qcow2 disk/base.qcow2
identical disk/inc1.qcow2 disk/base.qcow2
checkpoint verify --domain dom.xml checkpoint-C.xml checkpoint-D.xml

step "Off again: a plain overlay breaks both, and mend makes them valid"
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 disk/overlay.qcow2
run qemu-io -f qcow2 -c 'write -q -P 0x31 60M 100k' disk/overlay.qcow2
define overlay.qcow2
run virsh dumpxml recipe > dom.xml
rc=0
checkpoint verify --domain dom.xml checkpoint-C.xml checkpoint-D.xml || rc=$?
[[ $rc == 2 ]] || die "verify: exit code $rc"
start
broken D
stop
checkpoint mend C --domain dom.xml
checkpoint mend D --domain dom.xml
checkpoint verify --domain dom.xml checkpoint-C.xml checkpoint-D.xml
start
validate C
validate D
backup_xml inc2.xml inc2.qcow2 D
backup inc2.xml
stop
run qemu-img rebase -u -f qcow2 -b inc1.qcow2 -F qcow2 disk/inc2.qcow2
differ disk/inc1.qcow2 disk/overlay.qcow2
identical disk/inc2.qcow2 disk/overlay.qcow2

step "Verdicts of verify and of libvirt on random chains"
run env QCBM="$QCBM" python3 "$here/checkpoint_verdicts.py" "${1:-200}" "${2:-1}"

echo
echo "PASS: libvirt $("${private[@]}" virsh --version), $(qemu-img --version | head -n 1)"
