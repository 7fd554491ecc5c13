#!/usr/bin/env bash
# reproducible.sh - tarball and packages made twice: the same bytes
#
# SPDX-License-Identifier: MIT
#
# What the second time has of its own: the name of the folder, the umask, the time zone, the language, the home with
# another mask for archives of git, how many compile at once, and the time of day.
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-twice.XXXXXX")
trap 'rm -rf "$work"' EXIT

# all_into FOLDER: what the three scripts make
all_into() {
    local kind
    for kind in tarball deb rpm; do
        TMPDIR=$work/$1 "$root/packaging/$kind.sh" "$work/out-$1" >"$work/log" 2>&1 || die "$kind.sh: $(tail -n 20 "$work/log")"
    done
}

unset SOURCE_DATE_EPOCH   # that of the commit, found by each script itself
export CCACHE_DISABLE=1 # what a cache has kept proves nothing
mkdir "$work/first" "$work/second-of-them" "$work/home"
(umask 022 && all_into first)
HOME=$work/home git config --global tar.umask 0077
HOME=$work/home git config --global --add safe.directory "$root"
(
    export HOME=$work/home TZ=Pacific/Kiritimati LC_ALL=C LANG=C
    export DEB_BUILD_OPTIONS="parallel=$(($(nproc) + 1))" RPM_BUILD_NCPUS=$(($(nproc) + 1))
    umask 077 && all_into second-of-them
)
diff -rq "$work/out-first" "$work/out-second-of-them" || die "they differ"
(cd "$work/out-first" && sha256sum ./*)
