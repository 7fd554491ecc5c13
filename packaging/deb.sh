#!/usr/bin/env bash
# deb.sh OUT - the Debian packages of what is committed, and what lintian has to say of them, which is nothing
#
# SPDX-License-Identifier: MIT
#
# Needs scripts/install-deps.sh build packages. The same commit gives the same bytes, in whatever folder.
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
out=$(mkdir -p "${1:?usage: deb.sh OUT}" && cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT

tarball "$work"
mv "$work/qcbm-$version.tar.xz" "$work/qcbm_$version.orig.tar.xz"
tar -C "$work" -xf "$work/qcbm_$version.orig.tar.xz"
cd "$work/qcbm-$version"
cp -r packaging/debian debian
[ "$(dpkg-parsechangelog -S Version)" = "$version-1" ] || die "debian/changelog is of another version than $version"
dpkg-buildpackage -us -uc -b >"$work/log" 2>&1 || die "dpkg-buildpackage: $(tail -n 60 "$work/log")"
# It closes no bug of Debian, where it is not.
lintian --fail-on error,warning --allow-root --suppress-tags initial-upload-closes-no-bugs "$work"/*.deb || die "lintian, see above"
cp "$work"/*.deb "$out/"
ls "$out"/*.deb
