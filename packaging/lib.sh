# lib.sh - what the scripts of this folder have in common; read with "."
# shellcheck shell=bash
#
# SPDX-License-Identifier: MIT
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=$("$root/scripts/version.sh")

meson=meson
# shellcheck disable=SC2034 # for those who read this
[ ! -x /usr/bin/meson ] || meson=/usr/bin/meson

# What says "now" in an archive or a package says when the last commit was made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# tarball FOLDER: qcbm-VERSION.tar.xz of what is committed, always the same bytes
tarball() {
    (cd "$root" && git -c tar.umask=0002 archive --format=tar --prefix="qcbm-$version/" HEAD) |
        xz -T1 -6 >"$1/qcbm-$version.tar.xz"
}
