#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipes "A manifest beside each backup", "After a crash, exactly" and "Against a backup of Proxmox Backup Server" of
# docs/recipes.md: their commands are taken from the page and run as they stand, on a disk of its own, one with lazy refcounts and
# one whose data is in a raw file. What the bitmaps say, copied into the backup, gives the disk; and they say no more.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io (Debian: qemu-utils), python3.
#        RECIPES: the page (default: docs/recipes.md of this tree)
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname "$0")/lib.sh"

need qemu-img qemu-io python3
page=$(realpath -- "${RECIPES:-$(dirname "$0")/../../docs/recipes.md}")
dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-manifest.XXXXXX")
trap 'cd /; rm -rf "$dir"' EXIT
mkdir "$dir/bin"
ln -s "$QCBM" "$dir/bin/qcbm"
PATH=$dir/bin:$PATH

# The blocks of commands of a recipe, numbered from 1: carry_out RECIPE N
carry_out() {
    local commands
    commands=$(awk -v recipe="## $1" -v n="$2" '/^## / { here = $0 == recipe }
        here && /^```sh/ { k++; next } /^```/ { if (k == n) exit; next } here && k == n' "$page")
    [[ -n $commands ]] || die "recipe '$1' has no block $2"
    run bash -euc "$commands"
}
killed() { # a guest writes, and its program dies
    (ulimit -c 0; run qemu-io -f qcow2 -c 'write -q -P 0x31 5M 300k' -c 'write -q -P 0x32 30M 64k' -c flush -c abort vm.qcow2) || true
}
# Copying what bitmap NAME has dirty into OLD gives the disk, and each granule of SIZE in it differs: exact NAME OLD SIZE
exact() {
    run qemu-img convert -O raw vm.qcow2 now.raw
    run qcbm extents --output=json vm.qcow2 "$1" > extents.json
    python3 - "$2" "$3" <<'END' || die "bitmap $1 is not exact"
import json, sys
old, now, size = bytearray(open(sys.argv[1], 'rb').read()), open('now.raw', 'rb').read(), int(sys.argv[2])
dirty = [e for e in json.load(open('extents.json')) if e['type'] & 1]
needless = [g for e in dirty for g in range(e['offset'], e['offset'] + e['length'], size) if old[g:g + size] == now[g:g + size]]
for e in dirty:
    old[e['offset']:e['offset'] + e['length']] = now[e['offset']:e['offset'] + e['length']]
print('dirty: %d of %d' % (sum(e['length'] for e in dirty), len(now)))
raise SystemExit(bool(needless) or bytes(old) != now or not dirty)
END
}
# What a backup of Proxmox Backup Server has of a disk: its index, in so many words
write_index() {
    python3 - "$1" "$2" <<'END'
import hashlib, struct, sys
data, chunk = open(sys.argv[1], 'rb').read(), 4 << 20
digests = b''.join(hashlib.sha256(data[at:at + chunk]).digest() for at in range(0, len(data), chunk))
head = bytes.fromhex('2f7f41ed91fd0fcd') + bytes(16) + struct.pack('<q', 1700000000) + hashlib.sha256(digests).digest()
open(sys.argv[2], 'wb').write((head + struct.pack('<QQ', len(data), chunk)).ljust(4096, b'\0') + digests)
END
}

for options in lazy_refcounts=on data_file=vm.raw,data_file_raw=on; do
    mkdir "$dir/$options"
    cd "$dir/$options"
    step "A disk ($options)"
    run qemu-img create -q -f qcow2 -o "$options" vm.qcow2 41M
    run qemu-io -f qcow2 -c 'write -q -P 0x11 0 16M' -c 'write -q -P 0x12 28M 1M' vm.qcow2

    step "The full backup, its manifest, and an increment"
    carry_out 'A manifest beside each backup' 1
    run qemu-io -f qcow2 -c 'write -q -P 0x21 1M 100k' -c 'write -q -z 2M 128k' vm.qcow2
    carry_out 'A manifest beside each backup' 2
    carry_out 'A manifest beside each backup' 3
    run qemu-img convert -O raw vm.qcow2 before.raw
    write_index before.raw drive-scsi0.img.fidx

    step "The writer is killed"
    killed
    run qcbm check vm.qcow2 > /dev/null 2> told || true
    grep -q 'bitmap-in-use' told || die "the bitmap is not in use"

    step "The bitmap, exactly"
    carry_out 'After a crash, exactly' 1
    exact nightly before.raw 65536
    carry_out 'After a crash, exactly' 2
    exact exact before.raw 65536

    step "And against the backup of the server"
    carry_out 'Against a backup of Proxmox Backup Server' 1
    exact since-pbs before.raw 4194304
    run qemu-img check -q vm.qcow2
done
echo "ok"
