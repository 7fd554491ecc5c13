# dry_run_of_unsound.sh - wherever the mapping can be read a dry run gives the figures, and then says why it cannot be written
# SPDX-License-Identifier: MIT
fixture ten-overlay
figures='v["dirty-bytes"] == 1114112 and v["plan"] is None and v["steps"] == []'

# dry_run FILE WHY: the figures on stdout, one line on stderr, exit code 1, nothing is written
dry_run() {
    local code=0
    unchanged "$1" qcbm synth --dry-run --output=json "$1" b0 >figures.json 2>refused || code=$?
    [ "$code" -eq 1 ] || complain "$1: exit code $code"
    [ -s figures.json ] || complain "$1: no figures: $(cat refused)"
    json "$figures" cat figures.json
    [ "$(grep -vc '^qcbm: hint: ' refused)" -eq 1 ] || complain "$1: $(cat refused)"
    grep -q "$2" refused || complain "$1: $(cat refused)"
    fails unchanged "$1" qcbm synth "$1" b0 2>real
    grep -q "$2" real || complain "$1: $(cat real)"
}

# with_bytes FILE OFFSET HEX: a copy of the overlay with these bytes in it
with_bytes() {
    cp overlay.qcow2 "$1"
    poke "$@"
}

with_bytes dirty.qcow2 72 0000000000000001
dry_run dirty.qcow2 "marked dirty.*; 'qcbm check --explain dirty.qcow2' tells what to do"
with_bytes corrupt.qcow2 72 0000000000000002
dry_run corrupt.qcow2 "marked corrupt.*; 'qcbm check --explain corrupt.qcow2' tells what to do"
block=$(peek overlay.qcow2 "$(peek overlay.qcow2 48 8)" 8)
with_bytes refcounts.qcow2 $((block + 2 * 5)) 0000 # of a cluster with data
dry_run refcounts.qcow2 "refcount 0; 'qcbm check --explain refcounts.qcow2' tells what to do"
with_bytes table.qcow2 56 00000000 # no refcount table
dry_run table.qcow2 "refcount table.*; 'qcbm check --explain table.qcow2' tells what to do"
with_bytes snapshots.qcow2 60 00000001
dry_run snapshots.qcow2 "; 'qcbm check --explain snapshots.qcow2' tells what to do"

qemu-img create -q -f qcow2 -o compat=0.10 -b base.qcow2 -F qcow2 old.qcow2
qemu-io -c 'write -q 1M 1M' -c 'write -q 4M 64k' old.qcow2
dry_run old.qcow2 'compat=1.1'

qemu-img bitmap --add overlay.qcow2 first
extension=$(python3 -c 'print(open("overlay.qcow2", "rb").read().index(bytes.fromhex("23852875")))')
with_bytes directory.qcow2 $((extension + 24)) 0000000000000200 # an offset inside the first cluster
dry_run directory.qcow2 "bitmap directory.*; 'qcbm check --explain directory.qcow2' tells what to do"
