#!/usr/bin/env bash
# rpm.sh OUT - packages for RPM of what is committed; on Debian, too, where nothing is known of what they depend on
#
# SPDX-License-Identifier: MIT
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
out=$(mkdir -p "${1:?usage: rpm.sh OUT}" && cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-rpm.XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir "$work/SOURCES"
tarball "$work/SOURCES"
spec=$root/packaging/rpm/qcbm.spec
grep -qx "Version: *$version" "$spec" || die "qcbm.spec is of another version than $version"
rpmbuild --nodeps -bb --define "_topdir $work" --define "_dbpath $work/db" --define "_libdir /usr/lib64" \
    --define "debug_package %{nil}" --define "use_source_date_epoch_as_buildtime 1" --define "_buildhost qcbm" \
    --define "clamp_mtime_to_source_date_epoch 1" "$spec" >"$work/log" 2>&1 || die "rpmbuild: $(tail -n 40 "$work/log")"
find "$work/RPMS" -name '*.rpm' -exec cp {} "$out/" \;
ls "$out"/*.rpm
