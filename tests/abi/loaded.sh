#!/usr/bin/env bash
# loaded.sh COMMAND - to look at an image the command loads what it needs for that, and no library more, by whatever way
#
# SPDX-License-Identifier: MIT
#
# Each one costs every run of a fleet, also where it is for something else.
set -euo pipefail
command=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-loaded.XXXXXX")
trap 'rm -rf "$work"' EXIT

gzip -dc "$SOURCE_ROOT/tests/fixtures/one-bitmaps/image.gz" >"$work/image"
LD_DEBUG=files LD_DEBUG_OUTPUT=$work/loader "$command" info "$work/image" >"$work/out"
grep -q 'name: frozen' "$work/out"
known='ld-linux.*|libc|libjson-c|libqcbm|libxxhash|libz|libzstd'
[ "$SANITIZE" = none ] || known+='|lib(asan|ubsan|tsan|m|gcc_s|stdc\+\+|dl|rt|pthread|resolv)'
loaded=$(sed -n 's/.*calling init: .*\/\([^/]*\)\.so[.0-9]*$/\1/p' "$work"/loader.* | sort -u)
[ "$(wc -w <<<"$loaded")" -ge 3 ]
! grep -vxE "$known" <<<"$loaded" || {
    echo "loaded, and not known to this test"
    exit 1
}
echo "$loaded" | xargs
