#!/usr/bin/env bash
# tarball.sh OUT - the archive of a release; "meson dist" builds and installs what is in it
#
# SPDX-License-Identifier: MIT
#
# Only what is committed goes in. The same commit gives the same bytes.
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
out=$(mkdir -p "${1:?usage: tarball.sh OUT}" && cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-dist.XXXXXX")
trap 'rm -rf "$work"' EXIT

[ -z "$(git -C "$root" status --porcelain --untracked-files=no)" ] || die "there are changes that are not committed"
cd "$root"
"$meson" setup -Dtests=disabled -Dpython=disabled -Dgo=disabled -Drust=disabled "$work/build" >"$work/log" || die "meson setup: $(tail -n 20 "$work/log")"
"$meson" dist -C "$work/build" --formats xztar >"$work/log" 2>&1 || die "meson dist: $(tail -n 40 "$work/log")"
# What Meson has built has the times of its checkout in it; what goes out has the same files.
tarball "$work"
files_of() {
    tar -tf "$1" | grep -v '/$' | sort
}
diff <(files_of "$work/build/meson-dist/qcbm-$version.tar.xz") <(files_of "$work/qcbm-$version.tar.xz") ||
    die "the archive has not what Meson has built"
mv "$work/qcbm-$version.tar.xz" "$out/"
echo "$out/qcbm-$version.tar.xz"
