#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "qemu-storage-daemon" of docs/recipes.md, run for real: an overlay without any bitmap, `qcbm synth`, and incremental
# backups by blockdev-backup with sync=bitmap over QMP into qcow2 files laid over the full backup.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io (Debian: qemu-utils),
#        qemu-storage-daemon (Debian: qemu-system-common). No root, no network.
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname -- "$0")/lib.sh"
need qemu-img qemu-io qemu-storage-daemon

dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-qsd.XXXXXX")
daemon=
# shellcheck disable=SC2317 # called by the trap
cleanup() { if [[ -n $daemon ]]; then kill "$daemon" || true; fi; cd /; rm -rf "$dir"; }
cd "$dir"
trap cleanup EXIT

identical() { run qemu-img compare "$1" "$2" || die "$1 and $2 differ"; }
differ() {
    local rc=0
    run qemu-img compare "$1" "$2" || rc=$?
    [[ $rc == 1 ]] || die "$1 and $2 should differ"
}

# The daemon, with QMP on its standard input and output.
start() {
    echo "+ qemu-storage-daemon --chardev stdio,id=qmp --monitor chardev=qmp" >&2
    coproc QSD { exec qemu-storage-daemon --chardev stdio,id=qmp --monitor chardev=qmp; }
    daemon=$QSD_PID
    exec {to}>&"${QSD[1]}" {from}<&"${QSD[0]}"
    expect '"QMP"'
    qmp '{"execute": "qmp_capabilities"}'
}
# expect TEXT: read what the daemon says up to the line with TEXT; the line is left in $line.
expect() {
    while IFS= read -r -t 60 -u "$from" line; do
        echo "<- $line"
        [[ $line != *'"error"'* ]] || die "the daemon reports an error"
        if [[ $line == *"$1"* ]]; then return 0; fi
    done
    die "the daemon did not say $1"
}
qmp() {
    echo "-> $1"
    echo "$1" >&"$to"
    expect '"return"'
}
# backup MODE TARGET: one job from the node "disk" to the file TARGET; a job that ends with an error says so in query-jobs.
backup() {
    qmp '{"execute": "blockdev-add", "arguments": {"node-name": "target", "driver": "qcow2",
          "file": {"driver": "file", "filename": "'"$2"'"}}}'
    qmp '{"execute": "blockdev-backup", "arguments": {"job-id": "job", "device": "disk", "target": "target",
          "sync": "bitmap", "bitmap": "backup1", "bitmap-mode": "'"$1"'", "auto-dismiss": false}}'
    expect '"status": "concluded"'
    qmp '{"execute": "query-jobs"}'
    [[ $line == *'"id": "job"'* ]] || die "the job is gone"
    qmp '{"execute": "job-dismiss", "arguments": {"id": "job"}}'
    qmp '{"execute": "blockdev-del", "arguments": {"node-name": "target"}}'
}
stop() {
    qmp '{"execute": "quit"}'
    exec {to}>&-
    wait "$daemon" || die "qemu-storage-daemon ended with an error"
    daemon=
    exec {from}<&-
}
allocated() { # IMAGE: bytes that the file itself holds
    qemu-img map --output=json "$1" | tr -d ' \n' | tr '{' '\n' |
        sed -n 's/.*"length":\([0-9]*\),"depth":0,.*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

step "A disk of 96 MiB + 512 bytes, and its full backup"
run qemu-img create -q -f qcow2 base.qcow2 $((96 * 1024 * 1024 + 512))
run qemu-io -f qcow2 -c 'write -q -P 0x11 0 40M' -c 'write -q -P 0x12 70M 1M' -c 'write -q -P 0x13 96M 512' base.qcow2
run qemu-img convert -f qcow2 -O qcow2 base.qcow2 full.qcow2
identical full.qcow2 base.qcow2

step "An overlay made without any bitmap; all kinds of writes go to it"
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
run qemu-io -f qcow2 -d unmap -c 'write -q -P 0x21 1M 5000' -c 'write -q -z 4M 1M' -c 'discard -q 6M 1M' \
    -c 'write -q -c -P 0x22 8M 64k' -c 'write -q -z -u 10M 512' -c 'write -q -P 0x23 50M 36M' -c 'write -q -P 0 20M 64k' \
    -c 'write -q -P 0x24 96M 512' overlay.qcow2
differ full.qcow2 overlay.qcow2

step "qcbm synth: the bitmap that should have been there"
run "$QCBM" synth overlay.qcow2 backup1
run qemu-img check -q overlay.qcow2
run "$QCBM" extents overlay.qcow2 backup1

step "First increment, the overlay opened read-only: bitmap and overlay stay as they are (bitmap-mode never)"
run qemu-img create -q -f qcow2 -b full.qcow2 -F qcow2 inc1.qcow2
cksum overlay.qcow2 > before
start
qmp '{"execute": "blockdev-add", "arguments": {"node-name": "disk", "driver": "qcow2", "read-only": true,
      "file": {"driver": "file", "filename": "overlay.qcow2"}}}'
backup never inc1.qcow2
stop
cksum overlay.qcow2 | cmp before - || die "the overlay was written to"
identical inc1.qcow2 overlay.qcow2
run qemu-img check -q inc1.qcow2
copied=$(allocated inc1.qcow2)
echo "inc1.qcow2 holds $copied bytes"
# a cluster each of plain, compressed, partly zeroed, and zeros as data; 1 MiB zeroed, 1 discarded, 36 in a hole of the base; the end
[[ $copied == $((4 * 65536 + 38 * 1024 * 1024 + 512)) ]] || die "other clusters were copied than those written"

step "The same opened read-write with bitmap-mode on-success: the bitmap is cleared and starts the next period"
run qemu-img create -q -f qcow2 -b full.qcow2 -F qcow2 inc1b.qcow2
start
qmp '{"execute": "blockdev-add", "arguments": {"node-name": "disk", "driver": "qcow2",
      "file": {"driver": "file", "filename": "overlay.qcow2"}}}'
backup on-success inc1b.qcow2
stop
identical inc1b.qcow2 overlay.qcow2
"$QCBM" extents overlay.qcow2 backup1 > extents.txt
cat extents.txt
if grep -q dirty extents.txt; then die "the bitmap was not cleared"; fi

step "Later writes, recorded by the bitmap; the second increment on top of the first needs no qcbm"
run qemu-io -f qcow2 -c 'write -q -P 0x31 2M 100k' -c 'write -q -z 1M 4k' overlay.qcow2
run qemu-img create -q -f qcow2 -b inc1.qcow2 -F qcow2 inc2.qcow2
differ inc2.qcow2 overlay.qcow2
start
qmp '{"execute": "blockdev-add", "arguments": {"node-name": "disk", "driver": "qcow2",
      "file": {"driver": "file", "filename": "overlay.qcow2"}}}'
backup on-success inc2.qcow2
stop
identical inc2.qcow2 overlay.qcow2

step "What goes wrong: the backing changes after the full backup. No bitmap of the overlay can know"
run qemu-io -f qcow2 -c 'write -q -P 0x41 30M 64k' base.qcow2
differ full.qcow2 base.qcow2
differ inc2.qcow2 overlay.qcow2

echo
echo "PASS: qsd"
