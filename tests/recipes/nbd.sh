#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "qemu-nbd and nbdcopy" of docs/recipes.md, run for real: a full backup of the base through NBD, an overlay without
# any bitmap, `qcbm synth`, and an incremental backup that fetches only the dirty extents.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io, qemu-nbd (Debian: qemu-utils),
#        nbdcopy, nbdinfo (Debian: libnbd-bin). No root, no network.
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname -- "$0")/lib.sh"
need qemu-img qemu-io qemu-nbd nbdcopy nbdinfo

dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-nbd.XXXXXX")
server=
# shellcheck disable=SC2317 # called by the trap
cleanup() { if [[ -n $server ]]; then kill "$server" || true; fi; cd /; rm -rf "$dir"; }
cd "$dir"
trap cleanup EXIT

step "A disk of 96 MiB + 512 bytes, and its full backup through NBD"
run qemu-img create -q -f qcow2 base.qcow2 $((96 * 1024 * 1024 + 512))
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 40M' -c 'write -q -P 0x12 70M 1M' -c 'write -q -P 0x13 96M 512' base.qcow2
run nbdcopy -- [ qemu-nbd -r -f qcow2 base.qcow2 ] full.raw
identical raw full.raw qcow2 base.qcow2

step "An overlay made without any bitmap; all kinds of writes go to it"
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 5000' -c 'write -q -z 4M 1M' -c 'discard -q 6M 1M' \
    -c 'write -q -c -P 0x22 8M 64k' -c 'write -q -z -u 10M 512' -c 'write -q -P 0x23 50M 36M' -c 'write -q -P 0 20M 64k' \
    -c 'write -q -P 0x24 96M 512' overlay.qcow2
differ raw full.raw qcow2 overlay.qcow2
if qemu-nbd -r -f qcow2 -B backup1 -k "$dir/nbd.sock" overlay.qcow2 2> err; then die "qemu-nbd served a bitmap that is not there"; fi
cat err
grep -q "Bitmap 'backup1' is not found" err || die "another message was expected"

step "qcbm synth: the bitmap that should have been there"
run "$QCBM" synth overlay.qcow2 backup1
run qemu-img check -q overlay.qcow2
differ raw full.raw qcow2 overlay.qcow2

step "Serve overlay and bitmap, fetch the dirty extents"
serve overlay.qcow2 backup1
fetch inc1.qcow2 backup1
cat dirty.map
# plain, zeroed, discarded, compressed, zeroed in part, in a hole of the base, zeros as data, the odd tail
awk '$3 == 1 { print $1, $2 }' dirty.map | diff - <(printf '%d %d\n' 1048576 65536 4194304 1048576 6291456 1048576 \
    8388608 65536 10485760 65536 20971520 65536 52428800 37748736 100663296 512) || die "other clusters than those written"
run "$QCBM" extents overlay.qcow2 backup1 > extents.txt
diff <(awk '{ $1 = $1 } 1' dirty.map) <(awk '{ $1 = $1 } 1' extents.txt) || die "qcbm extents and nbdinfo do not agree"
unserve

step "Lay the increment over the full backup, compare"
run qemu-img rebase -u -f qcow2 -b full.raw -F raw inc1.qcow2
identical qcow2 inc1.qcow2 qcow2 overlay.qcow2
run qemu-img check -q inc1.qcow2

step "The bitmap records from now on: the next increment needs no qcbm"
run qemu-img bitmap --add overlay.qcow2 backup2
run qemu-io -f qcow2 -c 'write -q -P 0x31 2M 100k' -c 'write -q -z 1M 4k' overlay.qcow2
serve overlay.qcow2 backup2
fetch inc2.qcow2 backup2
cat dirty.map
unserve
run qemu-img rebase -u -f qcow2 -b inc1.qcow2 -F qcow2 inc2.qcow2
differ qcow2 inc1.qcow2 qcow2 overlay.qcow2
identical qcow2 inc2.qcow2 qcow2 overlay.qcow2
serve overlay.qcow2 backup1
fetch both.qcow2 backup1
unserve
run qemu-img rebase -u -f qcow2 -b full.raw -F raw both.qcow2
identical qcow2 both.qcow2 qcow2 overlay.qcow2

step "Restore through NBD"
run nbdcopy -- [ qemu-nbd -r -f qcow2 inc2.qcow2 ] restored.raw
identical raw restored.raw qcow2 overlay.qcow2

step "A second plain overlay: what both hold since the full backup goes into one bitmap in the upper one (--since)"
run qemu-img create -q -f qcow2 -b overlay.qcow2 -F qcow2 top.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x51 45M 64k' -c 'discard -q 8M 64k' -c 'write -q -z 33M 1M' top.qcow2
run "$QCBM" synth --since base.qcow2 top.qcow2 backup1
serve top.qcow2 backup1
fetch since.qcow2 backup1
cat dirty.map
unserve
run qemu-img rebase -u -f qcow2 -b full.raw -F raw since.qcow2
differ qcow2 inc2.qcow2 qcow2 top.qcow2
identical qcow2 since.qcow2 qcow2 top.qcow2

step "What goes wrong: the backing changes after the full backup. No bitmap of the overlay can know"
run qemu-io -f qcow2 -c 'write -q -P 0x41 30M 64k' base.qcow2
differ raw full.raw qcow2 base.qcow2
differ qcow2 inc2.qcow2 qcow2 overlay.qcow2

echo
echo "PASS: nbd"
