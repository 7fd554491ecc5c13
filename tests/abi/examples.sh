#!/usr/bin/env bash
# examples.sh FOLDER - the example programs do what they say, and qemu agrees with what they wrote
#
# SPDX-License-Identifier: MIT
set -euo pipefail
bin=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

expect() {
    [ "$1" = "$2" ] || {
        printf 'expected:\n%s\ngot:\n%s\n' "$2" "$1"
        exit 1
    }
}

qemu-img create -q -f qcow2 base.qcow2 4M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
qemu-io -f qcow2 -c 'write 64k 4k' -c 'write 1M 128k' -c 'write -z 2M 64k' overlay.qcow2 >/dev/null

expect "$("$bin/example_synth_minimal" overlay.qcow2 b0)" "262144 of 4194304 bytes are dirty, in granules of 65536"
expect "$("$bin/example_list_bitmaps" overlay.qcow2)" "b0 enabled granularity 65536 dirty 262144"
expect "$("$bin/example_dirty_extents" overlay.qcow2 b0 2>/dev/null)" "65536 65536
1048576 131072
2097152 65536"
expect "$("$bin/example_dirty_extents" --zero overlay.qcow2 b0 2>/dev/null)" "65536 65536
1048576 131072
2097152 65536 zero"
"$bin/example_own_backend" overlay.qcow2 >out
grep -q '^version 3, 4194304 bytes, 1 bitmaps; opened with [0-9]* reads' out
qemu-img check -q overlay.qcow2
expect "$(nbdinfo --map=qemu:dirty-bitmap:b0 -- [ qemu-nbd -r -f qcow2 -B b0 overlay.qcow2 ] |
    awk '$4 == "dirty" { print $1, $2 }')" "65536 65536
1048576 131072
2097152 65536"

expect "$("$bin/example_check_image" overlay.qcow2)" "0 corruptions, 0 leaks, 0 damages, 0 warnings"
"$bin/example_next_bitmap" overlay.qcow2 b0 b1 >out 2>progress
grep -q '^[1-9][0-9]* bytes in [1-9][0-9]* writes$' out
expect "$(tr '\r' '\n' <progress | tail -n 1 | awk -F/ '{ print ($1 == $2 && $2 > 0) }')" 1
expect "$("$bin/example_list_bitmaps" overlay.qcow2)" "b0 disabled granularity 65536 dirty 262144
b1 enabled granularity 65536 dirty 0"
cp overlay.qcow2 leaks.qcow2
head -c 65536 /dev/zero >>leaks.qcow2
last=$(($(stat -c %s leaks.qcow2) / 65536 - 1))
block=$(($(od -An -j48 -N8 -tu8 --endian=big leaks.qcow2)))
block=$(($(od -An -j"$block" -N8 -tu8 --endian=big leaks.qcow2)))
printf '\0\1' | dd of=leaks.qcow2 bs=1 seek=$((block + 2 * last)) conv=notrunc status=none
expect "$("$bin/example_check_image" leaks.qcow2)" "cluster-leaked: Leaked cluster $last refcount=1 reference=0
0 corruptions, 1 leaks, 0 damages, 0 warnings"

# A second bitmap of the name, and an image that is none: one line on stderr, exit 1, nothing on stdout.
for command in "example_synth_minimal overlay.qcow2 b0" "example_list_bitmaps $0" "example_dirty_extents overlay.qcow2 x" \
    "example_own_backend $0" "example_check_image $0" "example_next_bitmap overlay.qcow2 x b2"; do
    read -r -a words <<<"$command"
    status=0
    "$bin/${words[0]}" "${words[@]:1}" >out 2>err || status=$?
    expect "$status" 1
    expect "$(cat out)" ""
    expect "$(wc -l <err)" 1
done
