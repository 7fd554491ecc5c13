#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "After a crash" of docs/recipes.md: its commands are taken from the page and run as they stand, on an overlay whose
# writer was killed, with and without lazy refcounts, snapshots beside the bitmap. Nothing that was written is missed.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io (Debian: qemu-utils), python3.
#        RECIPES: the page (default: docs/recipes.md of this tree)
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
exec 2>&1 # messages in order with the output
export LC_ALL=C.UTF-8

die() { echo "FAIL: $*"; exit 1; }
step() { echo; echo "== $*"; }
run() { echo "+ $*" >&2; "$@"; }

QCBM=$(command -v "${QCBM:-qcbm}") || die "qcbm not found: set QCBM=path"
QCBM=$(realpath -- "$QCBM")
page=$(realpath -- "${RECIPES:-$(dirname "$0")/../../docs/recipes.md}")
dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-crash.XXXXXX")
trap 'cd /; rm -rf "$dir"' EXIT
mkdir "$dir/bin"
ln -s "$QCBM" "$dir/bin/qcbm"
PATH=$dir/bin:$PATH

# The blocks of commands of the recipe, numbered from 1: block N
block() {
    awk -v n="$1" '/^## / { here = $0 == "## After a crash" }
        here && /^```sh/ { k++; next } /^```/ { if (k == n) exit; next } here && k == n' "$page"
}
carry_out() {
    local commands
    commands=$(block "$1")
    [[ -n $commands ]] || die "the recipe has no block $1"
    run bash -euc "$commands"
}
killed() { # IMAGE: a guest writes, and its program dies
    (ulimit -c 0; run qemu-io -f qcow2 -c 'write -q -P 0x31 5M 300k' -c 'write -q -P 0x32 9M 64k' -c flush -c abort "$1") || true
}
# Nothing outside the dirty extents differs from the full backup.
nothing_missed() {
    run qemu-img convert -O raw full.qcow2 full.raw
    run qemu-img convert -O raw overlay.qcow2 now.raw
    run qcbm extents --output=json overlay.qcow2 nightly > extents.json
    python3 - <<'END' || die "a change is not in the bitmap"
import json
full, now = open('full.raw', 'rb').read(), bytearray(open('now.raw', 'rb').read())
dirty = 0
for e in json.load(open('extents.json')):
    if e['type'] & 1:
        dirty += e['length']
        now[e['offset']:e['offset'] + e['length']] = full[e['offset']:e['offset'] + e['length']]
print('dirty: %d of %d' % (dirty, len(full)))
raise SystemExit(now != full or not 0 < dirty < len(full) // 2)
END
}

for options in lazy_refcounts=off lazy_refcounts=on; do
    mkdir "$dir/$options"
    cd "$dir/$options"
    step "A disk and its full backup; an overlay with a bitmap and a snapshot ($options)"
    run qemu-img create -q -f qcow2 base.qcow2 32M
    run qemu-io -f qcow2 -c 'write -q -P 0x11 0 16M' base.qcow2
    run qemu-img convert -f qcow2 -O qcow2 base.qcow2 full.qcow2
    run qemu-img create -q -f qcow2 -o "$options" -b base.qcow2 -F qcow2 overlay.qcow2
    run qemu-img bitmap --add overlay.qcow2 nightly
    run qemu-io -f qcow2 -c 'write -q -P 0x21 1M 100k' overlay.qcow2
    run qemu-img snapshot -c evening overlay.qcow2

    step "The writer is killed"
    killed overlay.qcow2
    run qcbm check overlay.qcow2 > /dev/null 2> told || true
    grep -q 'bitmap-in-use' told || die "the bitmap is not in use"
    if [[ $options == *=on ]]; then
        grep -q 'header-dirty-bit' told || die "the image is not marked dirty"
    fi

    step "The recipe"
    carry_out 1
    carry_out 2
    carry_out 3
    nothing_missed
    run qemu-img snapshot -l overlay.qcow2 | grep evening || die "the snapshot is lost"
    run qemu-img check -q overlay.qcow2
done

step "A disk without a backing file"
run qemu-img create -q -f qcow2 disk.qcow2 16M
run qemu-img bitmap --add disk.qcow2 nightly
killed disk.qcow2
carry_out 4
run qcbm check --strict disk.qcow2
run qemu-img info disk.qcow2 | grep -A 3 'name: nightly' || die "there is no bitmap"

echo
echo "PASS: crash"
