#!/usr/bin/env bash
# installed_example.sh ROOT CC... - build and run an example against the tree installed below ROOT, with pkg-config: with
# the shared library, with the archive, and (but for sanitizers) as a static program
#
# SPDX-License-Identifier: MIT
set -euo pipefail
root=$(cd "$1" && pwd)
shift
cc=("$@")
source=$(cd "$(dirname "$0")/../.." && pwd)/examples/synth_minimal.c
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-installed.XXXXXX")
trap 'rm -rf "$work"' EXIT

pc=$(find "$root" -name libqcbm.pc)
[ -n "$pc" ] || {
    echo "no libqcbm.pc below $root"
    exit 1
}
libdir=$(cd "$(dirname "$pc")/.." && pwd)
pkgconf() {
    PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config "$@" libqcbm
}
# What the library needs itself is no matter of those who link its shared form: no other .pc file is looked at.
alone() {
    PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$libdir/pkgconfig pkg-config "$@" libqcbm
}
read -r -a cflags <<<"$(alone --cflags)"
read -r -a shared <<<"$(alone --libs)"
read -r -a static <<<"$(pkgconf --static --libs)"

"${cc[@]}" -std=c11 -Wall -Wextra -Werror "${cflags[@]}" -o "$work/shared" "$source" "${shared[@]}"
"${cc[@]}" -std=c11 -Wall -Wextra -Werror "${cflags[@]}" -o "$work/static" "$source" \
    "${static[@]/#-lqcbm/-l:libqcbm.a}"
kinds=(shared static)
if [[ ${cc[*]} != *-fsanitize* ]]; then
    "${cc[@]}" -std=c11 -Wall -Wextra -Werror "${cflags[@]}" -static -o "$work/all-static" "$source" "${static[@]}"
    kinds+=(all-static)
fi

readelf -d "$work/static" >"$work/needed"
! grep -q 'NEEDED.*libqcbm' "$work/needed" || {
    echo "the static build needs libqcbm.so"
    exit 1
}
# The soname in the program is the one that is installed.
soname=$(readelf -d "$work/shared" | sed -n 's/.*NEEDED.*\[\(libqcbm[^]]*\)\].*/\1/p')
[ -e "$libdir/$soname" ] || {
    echo "needs $soname, which is not in $libdir"
    exit 1
}

cd "$work"
for kind in "${kinds[@]}"; do
    qemu-img create -q -f qcow2 base.qcow2 1M
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
    qemu-io -f qcow2 -c 'write 64k 4k' overlay.qcow2 >/dev/null
    out=$(LD_LIBRARY_PATH=$libdir "./$kind" overlay.qcow2 b0)
    [ "$out" = "65536 of 1048576 bytes are dirty, in granules of 65536" ] || {
        echo "$kind: unexpected: $out"
        exit 1
    }
    qemu-img check -q overlay.qcow2
    echo "$kind: $out"
done
