#!/usr/bin/env bash
# reproducible.sh - tarball and packages made twice, in folders of other names: the same bytes
#
# SPDX-License-Identifier: MIT
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-twice.XXXXXX")
trap 'rm -rf "$work"' EXIT

for folder in first second-of-them; do
    mkdir "$work/$folder"
    for kind in tarball deb rpm; do
        TMPDIR=$work/$folder "$root/packaging/$kind.sh" "$work/out-$folder" >/dev/null
    done
done
diff -rq "$work/out-first" "$work/out-second-of-them" || die "they differ"
(cd "$work/out-first" && sha256sum ./*)
