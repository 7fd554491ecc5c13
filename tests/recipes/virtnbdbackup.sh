#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "virtnbdbackup" of docs/recipes.md, run for real: a full backup, a plain overlay, `qcbm synth --like`, an incremental
# backup of the domain that is off, and a restore.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io, qemu-nbd (Debian: qemu-utils), virtnbdbackup.
#        No root, no network, no libvirtd.
# The domain is one of libvirt's test driver, which lives in the calling program: virtnbdbackup does all it does for a domain
# that is off. Only a full backup of a running domain makes a checkpoint, which that driver has not: the script takes
# virtnbdbackup's backup of the domain that is off, gives its files the names of a full backup, and adds the bitmap
# that libvirt would have added. virtnbdbackup-libvirt.sh does it all with a libvirt, by hand.
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname -- "$0")/lib.sh"
need qemu-img qemu-io qemu-nbd virtnbdbackup virtnbdrestore

dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-vnb.XXXXXX")
trap 'cd /; rm -rf "$dir"' EXIT
cd "$dir"
export HOME=$dir # for its log

# define IMAGE: the domain "vm", off, with that image as its disk
define() {
    cat > node.xml << END
<node>
  <domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
    <test:runstate>5</test:runstate>
    <name>vm</name>
    <memory>65536</memory>
    <os><type>hvm</type></os>
    <devices>
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2'/>
        <source file='$dir/$1'/>
        <target dev='vda' bus='virtio'/>
      </disk>
    </devices>
  </domain>
</node>
END
}
# quietly COMMAND...: what it says goes to log, and is shown if it fails
quietly() {
    echo "+ $*"
    "$@" > log 2>&1 || { cat log; die "$1 failed"; }
}
backup() { # LEVEL
    quietly virtnbdbackup -U "test://$dir/node.xml" -d vm -n -f "$dir/sock" -l "$1" -o "$dir/backup"
    echo "$(saved) bytes saved"
}
restore() {
    rm -rf restored
    mkdir restored
    quietly virtnbdrestore -U "test://$dir/node.xml" -n -f "$dir/sock" -i "$dir/backup" -o "$dir/restored"
}
saved() { sed -n 's/.* \([0-9]*\) bytes of data extents to backup.*/\1/p' log; }
compare() {
    local rc=0
    run qemu-img compare "$1" "$2" || rc=$?
    [[ $rc == "$3" ]] || die "qemu-img compare $1 $2: exit code $rc, not $3"
}

step "A disk of 64 MiB, and its full backup with the checkpoint virtnbdbackup.0"
run qemu-img create -q -f qcow2 base.qcow2 64M
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 8M' -c 'write -q -P 0x12 20M 4M' base.qcow2
define base.qcow2
mkdir backup
backup full
mv backup/vda.copy.data backup/vda.full.data
mv backup/vda.copy.qcow.json backup/vda.virtnbdbackup.0.qcow.json
mv backup/vmconfig.copy.xml backup/vmconfig.virtnbdbackup.0.xml
echo '["virtnbdbackup.0"]' > backup/vm.cpt
run "$QCBM" checkpoint create virtnbdbackup.0 --disk vda=base.qcow2

step "The guest writes on; then somebody puts an overlay on the disk with plain qemu-img"
run qemu-io -f qcow2 -c 'write -q -P 0x13 30M 64k' base.qcow2
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 1M' -c 'write -q -z 20M 1M' -c 'discard -q 22M 64k' \
    -c 'write -q -P 0x22 50M 100k' overlay.qcow2
define overlay.qcow2

step "Without the bitmap in the overlay the one of the base is served: success is reported, and the increment is worthless"
cp -r backup kept
backup inc
[[ $(saved) == 65536 ]] || die "not what the base's bitmap says: $(saved)"
restore
compare restored/overlay.qcow2 overlay.qcow2 1
rm -rf backup
mv kept backup

step "qcbm: who has what, and what the overlay lacks"
run "$QCBM" bitmap --list --chain overlay.qcow2
run "$QCBM" synth --like base.qcow2 overlay.qcow2
run qemu-img check -q overlay.qcow2

step "The bitmap of the overlay alone would not do: the base's has what was written between backup and overlay"
cp -r backup kept
backup inc
restore
compare restored/overlay.qcow2 overlay.qcow2 1
rm -rf backup
mv kept backup
run "$QCBM" bitmap --collect virtnbdbackup.0 overlay.qcow2

step "The increment, with both, and the restore"
backup inc
# 1M + 1M, 20M + 1M, 22M + 64k, 30M + 64k, 50M + 100k in two granules
[[ $(saved) == $((2 * 1048576 + 4 * 65536)) ]] || die "other blocks than those written: $(saved)"
restore
compare restored/overlay.qcow2 overlay.qcow2 0
compare restored/overlay.qcow2 base.qcow2 1

step "qcbm reads what virtnbdbackup has written: full backup and increment, made one, on a disk of zeros"
run "$QCBM" delta --info backup/vda.inc.virtnbdbackup.0.data
run "$QCBM" delta --merge backup/vda.full.data backup/vda.inc.virtnbdbackup.0.data merged.data
if "$QCBM" delta --merge backup/vda.inc.virtnbdbackup.0.data backup/vda.full.data reordered.data; then die "merged in another order"; fi
truncate -s 64M zeros.raw
run "$QCBM" apply -q --force-parent -o merged.raw zeros.raw merged.data
run qemu-img compare -f raw -F qcow2 merged.raw overlay.qcow2

step "Compressed frames are refused, with the reason"
mkdir compressed
quietly virtnbdbackup -U "test://$dir/node.xml" -d vm -n -f "$dir/sock" -z -l copy -o "$dir/compressed"
if "$QCBM" delta --info compressed/vda.copy.data > log 2>&1; then die "compressed frames are read"; fi
grep -- --compress log || die "without the reason: $(cat log)"

step "One checkpoint by its name is the same"
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 second.qcow2
run qemu-io -f qcow2 -c 'write -q -P 0x31 40M 64k' second.qcow2
cp second.qcow2 third.qcow2
run "$QCBM" synth -q second.qcow2 virtnbdbackup.0
run "$QCBM" synth -q --like base.qcow2 third.qcow2
diff <("$QCBM" extents second.qcow2 virtnbdbackup.0) <("$QCBM" extents third.qcow2 virtnbdbackup.0) || die "the two ways differ"

echo
echo "PASS: $(virtnbdbackup -V 2>&1 | tail -n 1), $(qemu-img --version | head -n 1)"
