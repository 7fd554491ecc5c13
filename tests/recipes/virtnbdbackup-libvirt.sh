#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "virtnbdbackup" of docs/recipes.md with a libvirt: the full backup is of the running domain, with a checkpoint; after the
# increment that qcbm made possible the next one of the running domain is accepted.
#
# Run by hand: it needs a libvirt, which the normal test run does not install (virtnbdbackup.sh does without).
#   apt-get install libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils libnbd-bin virtnbdbackup
# Written for libvirt 9.0, qemu 7.2 and virtnbdbackup 1.9 of Debian 12.
#   QCBM=path/to/qcbm tests/recipes/virtnbdbackup-libvirt.sh          QCBM: environment, else the one in PATH
#
# What libvirt.sh says of its libvirtd holds here.
# shellcheck source=tests/recipes/libvirtd.sh
. "$(dirname "$0")/libvirtd.sh"

# quietly COMMAND...: as run, but what it says goes to log, and is shown if it fails
quietly() {
    echo "+ $*"
    "${private[@]}" "$@" > log 2>&1 || { cat log; die "$1 failed"; }
}
backup() { # LEVEL
    quietly virtnbdbackup -U qemu:///session -d recipe -n -f "$dir/data/sock" -S "$dir/scratch" -l "$1" -o "$dir/backup"
    sed -n 's/.* \([0-9]* bytes\) of data extents to backup.*/\1/p' log
}
restore_identical() {
    run rm -rf "$dir/restored"
    run mkdir "$dir/restored"
    quietly virtnbdrestore -U qemu:///session -n -f "$dir/data/sock" -i "$dir/backup" -o "$dir/restored"
    identical restored/overlay.qcow2 disk/overlay.qcow2
}
names() { tr -d '[]" \n' < backup/recipe.cpt; }

step "Full backup of the running domain: libvirt makes the checkpoint virtnbdbackup.0"
run mkdir backup scratch
run qemu-img create -q -f qcow2 disk/base.qcow2 64M
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 8M' -c 'write -q -P 0x12 20M 4M' disk/base.qcow2
define base.qcow2
start
backup full
stop
[[ $(names) == virtnbdbackup.0 ]] || die "checkpoints: $(names)"

step "The guest writes on; then somebody puts an overlay on the disk with plain qemu-img"
run qemu-io -f qcow2 -c 'write -q -P 0x13 30M 64k' disk/base.qcow2
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 disk/overlay.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 1M' -c 'write -q -z 20M 1M' -c 'discard -q 22M 64k' \
    -c 'write -q -P 0x22 50M 100k' disk/overlay.qcow2
define overlay.qcow2

step "qcbm, the increment of the domain that is off, and the restore"
"$QCBM" bitmap --list --chain disk/overlay.qcow2
"$QCBM" synth --like disk/base.qcow2 disk/overlay.qcow2
"$QCBM" bitmap --collect virtnbdbackup.0 disk/overlay.qcow2
backup inc
restore_identical

step "The running domain goes on from there: libvirt accepts the chain, and makes the next checkpoint"
start
backup inc
stop
[[ $(names) == virtnbdbackup.0,virtnbdbackup.1 ]] || die "checkpoints: $(names)"
restore_identical

echo
echo "PASS: virtnbdbackup $(virtnbdbackup -V 2>&1 | tail -n 1), libvirt $("${private[@]}" virsh --version)"
