#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "libvirt" of docs/recipes.md, run for real: an overlay made by plain `qemu-img create -b` breaks the checkpoints of a
# domain; `qcbm synth` mends them; libvirt accepts the chain and makes correct incremental backups.
#
# Run by hand: it needs a libvirt, which the normal test run does not install.
#   apt-get install libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils libnbd-bin
# Written for libvirt 9.0 and qemu 7.2 of Debian 12.
#   QCBM=path/to/qcbm tests/recipes/libvirt.sh          QCBM: environment, else the one in PATH
#
# It starts a libvirtd of its own (qemu:///session) whose configuration, state and sockets lie in a folder under $TMPDIR or /tmp,
# and takes no notice of any other libvirtd. Run as root, it gives libvirtd, virsh and qemu the user "nobody". The domain has
# 64 MiB, no network and no system; it is only ever started paused, qemu-io stands in for the guest's writes. No KVM needed.
# Exits 0 only if every step does what the recipe says; removes all it made.
# shellcheck source=tests/recipes/libvirtd.sh
. "$(dirname "$0")/libvirtd.sh"

# --- the recipe ---------------------------------------------------------------------------------------------------------
step "A domain with a disk of 1 GiB; full backup and checkpoint C in one"
run qemu-img create -q -f qcow2 disk/base.qcow2 1G
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 64M' -c 'write -q -P 0x12 500M 8M' disk/base.qcow2
define base.qcow2
start
backup_xml full.xml full.qcow2
checkpoint_xml new-C.xml C
backup full.xml new-C.xml
run virsh -q checkpoint-dumpxml recipe C > checkpoint-C.xml
validate C
stop
identical disk/full.qcow2 disk/base.qcow2

step "The guest writes to the base; checkpoint C records it"
run qemu-io -f qcow2 -c 'write -q -P 0x13 200M 64k' disk/base.qcow2

step "Somebody puts an overlay on it with plain qemu-img, and the guest goes on there"
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 disk/overlay.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 3M' -c 'write -q -P 0x22 700M 100k' -c 'write -q -z 500M 1M' \
    -c 'discard -q 502M 512k' disk/overlay.qcow2
define overlay.qcow2

step "Checkpoint C is broken now: libvirt lists it, but neither validates it nor makes a backup from it"
run virsh -q checkpoint-list recipe
refused "domain is not running" virsh -q checkpoint-create recipe checkpoint-C.xml --redefine --redefine-validate
start
broken C
backup_xml inc1.xml inc1.qcow2 C
refused "missing or broken bitmap 'C'" virsh -q backup-begin recipe inc1.xml
if out=$("$QCBM" synth disk/overlay.qcow2 C 2>&1); then die "qcbm wrote to an image that a running domain holds"; fi
echo "with the domain running: $out"
stop
[[ ! -e disk/inc1.qcow2 ]] || run rm disk/inc1.qcow2

step "qcbm synth: the domain off, the missing bitmap C into the overlay"
synth disk/overlay.qcow2 C

step "A bitmap that does not record would not do: libvirt wants it enabled, as qcbm makes it by default"
echo "+ qcbm bitmap --disable disk/overlay.qcow2 C"
"$QCBM" bitmap --disable disk/overlay.qcow2 C
start
broken C
stop
echo "+ qcbm bitmap --enable disk/overlay.qcow2 C"
"$QCBM" bitmap --enable disk/overlay.qcow2 C

step "libvirt accepts the chain"
start
validate C

step "Incremental backup since C, with checkpoint D for the next one"
checkpoint_xml new-D.xml D
backup inc1.xml new-D.xml
run virsh -q checkpoint-dumpxml recipe D > checkpoint-D.xml
run virsh checkpoint-list recipe --tree
validate D

step "The same in pull mode: what libvirt serves as dirty since C"
cat > pull.xml << END
<domainbackup mode='pull'>
  <incremental>C</incremental>
  <server transport='unix' socket='$dir/disk/nbd.sock'/>
  <disks>
    <disk name='vda' backup='yes' type='file' exportbitmap='dirty'>
      <scratch file='$dir/disk/scratch.qcow2'/>
    </disk>
  </disks>
</domainbackup>
END
run virsh -q backup-begin recipe pull.xml
run nbdinfo --map=qemu:dirty-bitmap:dirty "nbd+unix:///vda?socket=$dir/disk/nbd.sock" > dirty.map
cat dirty.map
# overlay 1M+3M; base 200M+64k; overlay 500M+1M zeroed, 502M+512k discarded, 700M+100k in two clusters
awk '$3 == 1 { print $1, $2 }' dirty.map | diff - <(printf '%d %d\n' 1048576 3145728 209715200 65536 524288000 1048576 \
    526385152 524288 734003200 131072) || die "other extents than those written since C"
run virsh -q domjobabort recipe
stop

step "Lay the increment over the full backup. libvirt left the live overlay as its backing file: change that first"
run qemu-img rebase -u -f qcow2 -b full.qcow2 -F qcow2 disk/inc1.qcow2
differ disk/full.qcow2 disk/overlay.qcow2
identical disk/inc1.qcow2 disk/overlay.qcow2
run qemu-img check -q disk/inc1.qcow2

step "The guest writes on; the next increment, since D, needs no qcbm"
run qemu-io -f qcow2 -c 'write -q -P 0x31 2M 100k' -c 'write -q -z 700M 4k' disk/overlay.qcow2
start
validate C
validate D
backup_xml inc2.xml inc2.qcow2 D
backup inc2.xml
stop
run qemu-img rebase -u -f qcow2 -b inc1.qcow2 -F qcow2 disk/inc2.qcow2
differ disk/inc1.qcow2 disk/overlay.qcow2
identical disk/inc2.qcow2 disk/overlay.qcow2

step "Two more plain overlays: each of them needs the bitmaps, a gap in the middle is refused"
run qemu-img create -q -f qcow2 -b overlay.qcow2 -F qcow2 disk/overlay2.qcow2
run qemu-io -f qcow2 -c 'write -q -P 0x41 10M 64k' -c 'write -q -P 0x42 900M 64k' disk/overlay2.qcow2
run qemu-img create -q -f qcow2 -b overlay2.qcow2 -F qcow2 disk/overlay3.qcow2
run qemu-io -f qcow2 -c 'write -q -P 0x51 10M 4k' -c 'write -q -P 0x52 64M 1M' disk/overlay3.qcow2
define overlay3.qcow2
synth disk/overlay3.qcow2 D
start
broken D
stop
synth disk/overlay2.qcow2 D
start
validate D
broken C
backup_xml inc3.xml inc3.qcow2 D
backup inc3.xml
stop
run qemu-img rebase -u -f qcow2 -b inc1.qcow2 -F qcow2 disk/inc3.qcow2
differ disk/inc1.qcow2 disk/overlay3.qcow2
identical disk/inc3.qcow2 disk/overlay3.qcow2

step "The checkpoint's metadata lost as well (a domain defined anew elsewhere): the XML kept from before brings it back"
synth disk/overlay2.qcow2 C
synth disk/overlay3.qcow2 C
run virsh -q checkpoint-delete recipe D --metadata
run virsh -q checkpoint-delete recipe C --metadata
run virsh -q undefine recipe
define overlay3.qcow2
start
validate C
validate D
run virsh checkpoint-list recipe --tree
backup_xml inc4.xml inc4.qcow2 C
backup inc4.xml
stop
run qemu-img rebase -u -f qcow2 -b full.qcow2 -F qcow2 disk/inc4.qcow2
identical disk/inc4.qcow2 disk/overlay3.qcow2

echo
echo "PASS: libvirt $("${private[@]}" virsh --version), $(qemu-img --version | head -n 1)"
