#!/usr/bin/env bash
# installed.sh - "meson install" gives a tree that a program outside can be built against
#
# SPDX-License-Identifier: MIT
set -euo pipefail
read -r -a cc <<<"$CC"
root=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-destdir.XXXXXX")
trap 'rm -rf "$root"' EXIT
meson=meson
[ ! -x /usr/bin/meson ] || meson=/usr/bin/meson

DESTDIR=$root "$meson" install -C "$BUILD_ROOT" --no-rebuild --quiet

for name in qcbm.h qcbm-check.h qcbm-manifest.h qcbm-delta.h qcbm-checkpoint.h qcbm-io.h libqcbm.a libqcbm.so libqcbm.pc qcbm; do
    [ -n "$(find "$root" -name "$name" ! -type d)" ] || {
        echo "not installed: $name"
        exit 1
    }
done
for name in qcbm-nbd.h libqcbm-nbd.so libqcbm-nbd.pc; do
    [ -z "${HAVE_NBD:-}" ] || [ -n "$(find "$root" -name "$name")" ] || {
        echo "not installed: $name"
        exit 1
    }
done
# Where the shells look, with the prefix /usr or with what $XDG_DATA_DIRS and $fpath have of the prefix.
for name in bash-completion/completions/qcbm zsh/site-functions/_qcbm fish/vendor_completions.d/qcbm.fish; do
    [ -n "$(find "$root" -path "*/share/$name")" ] || {
        echo "not installed: $name"
        exit 1
    }
done
[ -n "$(find "$root" -path "*/man/man3/libqcbm-synth.3")" ] || {
    echo "not installed: the manual pages of the library"
    exit 1
}
for name in README.md docs/library.md docs/recipes.md examples/own_backend.c; do
    [ -n "$(find "$root" -path "*/doc/qcbm/$name")" ] || {
        echo "not installed: $name"
        exit 1
    }
done
for name in job.sh load.sh views.sql questions/01-without-checkpoint.sql; do
    [ -n "$(find "$root" -path "*/share/qcbm/fleet/$name")" ] || {
        echo "not installed: $name of the fleet"
        exit 1
    }
done
# Nothing internal goes out.
extra=$(find "$root" -name '*.h' ! -path '*/include/qcbm.h' ! -path '*/include/qcbm-*.h')
[ -z "$extra" ] || {
    echo "internal headers are installed: $extra"
    exit 1
}

# A library with a sanitizer needs a program with it.
if [ "$SANITIZE" != none ]; then
    cc+=("-fsanitize=$SANITIZE")
fi
"$SOURCE_ROOT/tests/abi/installed_example.sh" "$root" "${cc[@]}"
