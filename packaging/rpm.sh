#!/usr/bin/env bash
# rpm.sh OUT - packages for RPM of what is committed, unpacked and tried; on Debian, too, where nothing is known of what
# they depend on
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

# They need not be installable here: what is in them is unpacked into one folder, and works there.
tree=$work/tree
mkdir "$tree"
find "$work/RPMS" -name '*.rpm' | while IFS= read -r package; do
    rpm2archive - <"$package" | tar -C "$tree" -xz
done
place=$(cd "$tree" && find usr/lib* -path '*/python3.*/site-packages/qcbm/__init__.py')
[ -n "$place" ] || die "Python would not find its package"
export LD_LIBRARY_PATH=$tree/usr/lib64 PYTHONPATH=$tree/${place%/qcbm/*}
command=$("$tree/usr/bin/qcbm" --version | head -n 1)
python=$(/usr/bin/python3 -c 'import qcbm; qcbm.nbd_lib().qcbm_nbd_ops(); print(qcbm.version())')
[ "$command, $python" = "qcbm $version, $version" ] || die "not of $version: $command, $python"
unset LD_LIBRARY_PATH PYTHONPATH

find "$work/RPMS" -name '*.rpm' -exec cp {} "$out/" \;
ls "$out"/*.rpm
