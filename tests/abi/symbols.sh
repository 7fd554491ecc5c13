#!/usr/bin/env bash
# symbols.sh SHARED ARCHIVE - exported: only qcbm_*, each declared in a header, and all of those; the archive adds only
# the prefixes of the layers
#
# SPDX-License-Identifier: MIT
set -euo pipefail
shared=$1 archive=$2
headers=("$SOURCE_ROOT"/libqcbm/include/*.h)
bad=0

complain() {
    echo "$*"
    bad=1
}

# The type A symbol is the version node itself.
exported=$(nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
[ -n "$exported" ] || complain "the shared library exports nothing"

# A declaration is QCBM_API up to its name, the word before the first "(".
declared=$(sed -n 's/^QCBM_API [^(]*[ *]\(qcbm_[a-z0-9_]*\)(.*/\1/p' "${headers[@]}" | sort -u)
[ -n "$declared" ] || complain "no QCBM_API declaration was found in the headers"

for name in $exported; do
    [[ $name == qcbm_* ]] || complain "exported without the prefix qcbm_: $name"
    grep -qx -- "$name" <<<"$declared" || complain "exported, but in no public header: $name"
done
for name in $declared; do
    grep -qx -- "$name" <<<"$exported" || complain "declared QCBM_API, but not exported: $name"
done

unversioned=$(nm -D --defined-only "$shared" | awk '$2 != "A" && $3 !~ /@@QCBM_[0-9]+\.[0-9]+$/ { print $3 }')
[ -z "$unversioned" ] || complain "exported without a version: $unversioned"

# Sanitizers add symbols of their own.
internal=$(nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' |
    grep -vE '^(__odr_asan|__asan|__ubsan|__sanitizer)' | sort -u)
for name in $internal; do
    case "$name" in
        qcbm_* | qcbmi_* | q2_*) ;;
        *) complain "global in the archive without qcbm_, qcbmi_ or q2_: $name" ;;
    esac
done

[ "$bad" -eq 0 ] || exit 1
echo "$(wc -w <<<"$exported") exported, $(wc -w <<<"$internal") in the archive"
