#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "Raw disks" of docs/recipes.md, run for real: a raw disk gets a metadata image with `qcbm attach`, a full backup, an
# incremental one, and is restored; then QEMU is killed, and the bitmap comes back from what the storage knows, in each form
# in which storages tell it.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io, qemu-nbd (Debian: qemu-utils),
#        nbdcopy, nbdinfo (Debian: libnbd-bin), python3. No root, no network.
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname -- "$0")/lib.sh"
need qemu-img qemu-io qemu-nbd nbdcopy nbdinfo python3

dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-raw.XXXXXX")
server=
# shellcheck disable=SC2317 # called by the trap
cleanup() { if [[ -n $server ]]; then kill "$server" || true; fi; cd /; rm -rf "$dir"; }
cd "$dir"
trap cleanup EXIT

# storage_says FORM OLD NEW: where the two raw disks differ, in blocks of 64 KiB, as a storage of that kind tells it
storage_says() {
    python3 - "$@" <<'END'
import json, sys
form, old, new, block = sys.argv[1], open(sys.argv[2], 'rb').read(), open(sys.argv[3], 'rb').read(), 65536
runs = []
for at in range(0, len(new), block):
    if old[at:at + block] != new[at:at + block]:
        if runs and runs[-1][1] == at:
            runs[-1][1] = at + block
        else:
            runs.append([at, at + block])
clip = [(a, min(b, len(new))) for a, b in runs]
zero = lambda a, b: not any(new[a:b])
if form == 'rbd':
    print(json.dumps([{'offset': a, 'length': b - a, 'exists': 'false' if zero(a, b) else 'true'} for a, b in clip]))
elif form == 'thin-delta':  # in blocks of the pool, which may pass the end of the disk
    print('<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="4096">\n<diff left="1" right="2">')
    at = 0
    for a, b in runs:
        if a > at:
            print('<same begin="%d" length="%d"/>' % (at // block, (a - at) // block))
        print('<%s begin="%d" length="%d"/>' % ('left_only' if zero(a, b) else 'different', a // block, (b - a) // block))
        at = b
    print('</diff>\n</superblock>')
elif form == 'csi':
    print(json.dumps([{'block_metadata_type': 2, 'volume_capacity_bytes': len(new),
                       'block_metadata': [{'byte_offset': a, 'size_bytes': b - a} for a, b in clip]}]))
elif form == 'ovirt':
    at, rows = 0, []
    for a, b in clip + [(len(new), len(new))]:
        rows += [{'start': at, 'length': a - at, 'dirty': False, 'zero': False}] if a > at else []
        rows += [{'start': a, 'length': b - a, 'dirty': True, 'zero': zero(a, b)}] if b > a else []
        at = b
    print(json.dumps(rows))
END
}
increment() { # BITMAP BACKUP-BELOW NEW
    serve meta.qcow2 "$1"
    fetch "$3" "$1"
    cat dirty.map
    unserve
    run qemu-img rebase -u -f qcow2 -b "$2" -F "${2##*.}" "$3"
}

step "A raw disk of 64 MiB + 512 bytes; a metadata image around it, with a bitmap. The disk is only read"
truncate -s $((64 * 1024 * 1024 + 512)) disk.raw
run qemu-io -f raw -c 'write -q -P 0x11 0 10M' -c 'write -q -P 0x12 30M 5M' -c 'write -q -P 0x13 64M 512' disk.raw
before=$(stat -c '%y %z' disk.raw; sha256sum disk.raw)
run "$QCBM" attach --data disk.raw --bitmap backup1 meta.qcow2
[[ $before == "$(stat -c '%y %z' disk.raw; sha256sum disk.raw)" ]] || die "the raw disk changed"
run "$QCBM" attach --verify meta.qcow2
identical qcow2 meta.qcow2 raw disk.raw

step "The full backup, before the guest starts on the new image"
run nbdcopy -- [ qemu-nbd -r -f qcow2 meta.qcow2 ] full.raw
identical raw full.raw raw disk.raw

step "A day of the guest; then an increment of what is dirty"
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 100k' -c 'write -q -z 31M 1M' -c 'discard -q 5M 1M' \
    -c 'write -q -P 0x22 50M 64k' -c 'write -q -P 0x23 64M 512' meta.qcow2
identical qcow2 meta.qcow2 raw disk.raw
run "$QCBM" bitmap --rotate backup2 meta.qcow2 backup1
increment backup1 full.raw inc1.qcow2
identical qcow2 inc1.qcow2 raw disk.raw
run "$QCBM" attach --verify meta.qcow2

step "The restore: a raw disk again, and a metadata image for it"
run qemu-img convert -f qcow2 -O raw inc1.qcow2 restored.raw
identical raw restored.raw raw disk.raw
run "$QCBM" attach --data restored.raw --bitmap backup2 restored.qcow2
identical qcow2 restored.qcow2 raw disk.raw

step "The next day QEMU is killed. The bitmap is of no use, and allocation says nothing of a raw disk"
cp disk.raw at-backup.raw # the snapshot that the storage made with the last backup
(ulimit -c 0; qemu-io -f qcow2 -d unmap -c 'write -q -P 0x31 2M 300k' -c 'write -q -P 0x32 40M 64k' -c 'write -q -z -u 33M 128k' \
    -c 'write -q -P 0x33 64M 512' -c flush -c abort meta.qcow2) || true
"$QCBM" bitmap --list meta.qcow2
if run "$QCBM" extents meta.qcow2 backup2; then die "a bitmap in use was read"; fi
if run "$QCBM" bitmap --revive meta.qcow2 backup2; then die "what was allocated was taken for what changed"; fi

step "What the storage says, in each form: the bitmap comes back, under its name, and records"
cp meta.qcow2 crashed.qcow2
for form in rbd thin-delta csi ovirt; do
    cp crashed.qcow2 meta.qcow2
    storage_says "$form" at-backup.raw disk.raw | run "$QCBM" bitmap --remove --import - --format=$form meta.qcow2 backup2
    run qemu-img check -q meta.qcow2
    run qemu-io -f qcow2 -c 'write -q -P 0x33 64M 512' meta.qcow2 # it records, though that is the same again
    increment backup2 inc1.qcow2 "inc2-$form.qcow2"
    identical qcow2 "inc2-$form.qcow2" raw disk.raw
    if [[ $form != rbd ]]; then diff rbd.map dirty.map || die "$form says something else than rbd"; fi
    cp dirty.map "$form.map"
    run "$QCBM" attach --verify meta.qcow2
done

step "The raw disk was written to behind the guest's back: found, put right, and in the next increment"
printf 'x' | dd of=disk.raw bs=1 seek=$((5 * 1024 * 1024 + 5)) conv=notrunc status=none
rc=0
run "$QCBM" attach --verify meta.qcow2 || rc=$?
[[ $rc == 2 ]] || die "not found"
if grep -q "^ *5242880 " dirty.map; then die "the place is dirty already"; fi
run "$QCBM" attach --reset --undo reset.undo meta.qcow2
run "$QCBM" attach --verify meta.qcow2
increment backup2 inc1.qcow2 inc3.qcow2
grep -q "^ *5242880 *65536 *1 " dirty.map || die "the place is not dirty"
identical qcow2 inc3.qcow2 raw disk.raw

echo
echo "PASS: raw"
