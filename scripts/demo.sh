#!/usr/bin/env bash
# demo.sh - from a bare Debian 12 to a synthesised bitmap that QEMU serves: install, build, show, compare.
#
# SPDX-License-Identifier: MIT
#
# DEMO_INSTALLED=1 takes the qcbm that is installed. Else it builds in build-demo/. It works in a temporary folder, which is removed at the end (DEMO_KEEP=1 keeps it).
# Stops with a message and a non-zero exit if anything is not as it is said to be.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

work=
finish() {
    status=$?
    if [ -n "$work" ] && [ "${DEMO_KEEP:-0}" = 0 ]; then
        rm -rf "$work"
    elif [ -n "$work" ]; then
        echo "kept: $work"
    fi
    [ "$status" -eq 0 ] || echo "demo.sh: FAILED (exit $status), see above" >&2
    exit "$status"
}
trap finish EXIT

fail() {
    echo "demo.sh: $*" >&2
    exit 1
}

title() {
    printf '\n== %s\n' "$*"
}

run() {
    printf '$ %s\n' "$*"
    "$@"
}

# Guest writes, without qemu-io's report of each.
guest() {
    local image=$1 out
    shift
    out=$(qemu-io -f qcow2 "$@" "$image" 2>&1) || fail "qemu-io: $out"
    ! grep -qiE 'failed|error' <<<"$out" || fail "qemu-io: $out"
}

build_it() {
    local log meson=meson
    scripts/install-deps.sh build demo
    [ ! -x /usr/bin/meson ] || meson=/usr/bin/meson
    if [ ! -f build-demo/build.ninja ]; then
        log=$("$meson" setup -Dtests=disabled -Dman=false build-demo 2>&1) || fail "meson setup: $log"
    fi
    echo "building ..."
    log=$("$meson" compile -C build-demo 2>&1) || fail "meson compile: $log"
    PATH=$top/build-demo/tools:$PATH
}

if [ "${DEMO_INSTALLED:-0}" = 0 ]; then
    title "1. What it takes, and the build (in build-demo/)"
    build_it
else
    title "1. $(command -v qcbm), which is installed"
fi
qcbm --version >/dev/null || fail "the command qcbm does not start"

work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-demo.XXXXXX")
cd "$work"

title "2. A disk, its overlay, and a guest that writes to the overlay"
run qemu-img create -q -f qcow2 base.qcow2 256M
guest base.qcow2 -c 'write -P 0x11 0 16M' -c 'write -P 0x22 100M 8M' -c 'write -P 0x33 255M 1M'
run qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
guest overlay.qcow2 -c 'write -P 0xa1 1M 4k' -c 'write -P 0xa2 10M 1M' -c 'write -z 12M 128k' \
    -c 'discard 102M 256k' -c 'write -P 0xa3 255M 64k'
echo "the guest wrote 4 KiB at 1 MiB, 1 MiB at 10 MiB, 64 KiB at 255 MiB, zeroed 128 KiB at 12 MiB,"
echo "and discarded 256 KiB at 102 MiB. No bitmap existed: nobody kept a record."
cp overlay.qcow2 overlay.before

title "3. The record, made afterwards"
run qcbm synth --dry-run overlay.qcow2 since-backup
cmp -s overlay.qcow2 overlay.before || fail "a dry run changed the image"
size_before=$(stat -c %s overlay.qcow2)
run qcbm synth overlay.qcow2 since-backup
grown=$(($(stat -c %s overlay.qcow2) - size_before))

title "4. The dirty extents, as qcbm reads them and as QEMU serves them"
run qcbm extents overlay.qcow2 since-backup | tee extents.qcbm
echo "\$ nbdinfo --map=qemu:dirty-bitmap:since-backup -- [ qemu-nbd -r -f qcow2 -B since-backup overlay.qcow2 ]"
nbdinfo --map=qemu:dirty-bitmap:since-backup -- [ qemu-nbd -r -f qcow2 -B since-backup overlay.qcow2 ] |
    tee extents.qemu
sed -i '/^\$/d' extents.qcbm
rows() {
    awk '{ print $1, $2, $3, $4 }' "$1"
}
dirty=$(awk '$4 == "dirty" { n++ } END { print n + 0 }' extents.qcbm)
dirty_bytes=$(awk '$4 == "dirty" { n += $2 } END { print n + 0 }' extents.qcbm)
[ "$dirty" -eq 5 ] || fail "expected 5 dirty extents, qcbm shows $dirty"
diff <(rows extents.qcbm) <(rows extents.qemu) || fail "the two maps differ"

title "5. Nothing else changed"
run qemu-img check overlay.qcow2
run qemu-img compare overlay.before overlay.qcow2
qemu-img info overlay.qcow2 >info.txt
grep -q 'name: since-backup' info.txt || fail "qemu-img info does not list the bitmap"
grep -q 'corrupt: false' info.txt || fail "qemu-img info: the image is marked corrupt"

title "6. An incremental backup from it: a copy of the base, plus the dirty extents only"
qemu-img convert -O raw base.qcow2 backup.raw
qemu-img convert -O raw overlay.qcow2 guest.raw
! cmp -s backup.raw guest.raw || fail "the guest changed nothing?"
while read -r offset length _ kind; do
    [ "$kind" = dirty ] || continue
    dd if=guest.raw of=backup.raw bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
        skip="$offset" count="$length" seek="$offset"
    echo "copied $length bytes at $offset"
done <extents.qcbm
cmp backup.raw guest.raw || fail "the backup is not what the guest sees"

title "What to notice"
cat <<REMARKS
* The record did not exist, and was made from the overlay's own tables: clusters allocated in it are what changed.
  Neither the base nor any guest data was read for it.
* 5 guest actions gave $dirty dirty extents, $dirty_bytes bytes. The write of 4 KiB counts as 65536 bytes, one cluster:
  too much may be copied, too little never.
* Zeroed and discarded ranges are dirty as well: they hide what the base has there.
* QEMU serves the bitmap: the map of "qcbm extents" and the one from qemu-nbd are equal, line for line.
* The image check is clean, the guest's content is the same, and the file grew by $grown bytes.
* $dirty_bytes bytes copied over a copy of the base gave the guest's disk of 268435456 bytes, byte for byte.
  Recipes with QEMU's and libvirt's own backup jobs are in docs/recipes.md.
REMARKS

if [ "${DEMO_INSTALLED:-0}" = 0 ]; then
    title "To keep it"
cat <<KEEP
The command is build-demo/tools/qcbm. To install it with library, manual pages and completion (below /usr/local):

  meson setup build && meson compile -C build && sudo meson install -C build && sudo ldconfig
KEEP
fi
echo
echo "demo: all as it should be"
