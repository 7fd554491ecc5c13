#!/usr/bin/env bash
# man_pages.sh SHARED... -- PAGE... - each exported function is on exactly one page of section 3, with its prototype, and no page
# has another; what the pages refer to is there; groff, where it is installed, has nothing to say of any page
#
# SPDX-License-Identifier: MIT
set -euo pipefail
shared=()
for ((; $# > 0; )); do
    one=$1
    shift
    [ "$one" != -- ] || break
    shared+=("$one")
done
bad=0

complain() {
    echo "$*"
    bad=1
}

exported=$(nm -D --defined-only "${shared[@]}" | awk 'NF == 3 && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
named=$(sed -n 's/^\.Nm \(qcbm_[a-z0-9_]*\).*/\1/p' "$@" | sort)
shown=$(sed -n 's/^\.Fo \(qcbm_[a-z0-9_]*\)$/\1/p' "$@" | sort)
[ "$(wc -w <<<"$exported")" -gt 60 ] || complain "only $(wc -w <<<"$exported") functions are exported"
[ "$named" = "$exported" ] || complain "NAME of the pages is not what is exported: $(diff <(echo "$named") <(echo "$exported") || true)"
[ "$shown" = "$exported" ] || complain "SYNOPSIS of the pages is not what is exported: $(diff <(echo "$shown") <(echo "$exported") || true)"

# The text is about all of them, and no others.
described=$(sed -n 's/^\.\(It \)\{0,1\}Fn //p' "$@" | grep -oE 'qcbm_[a-z0-9_]+' | sort -u)
[ "$described" = "$exported" ] || complain "described is not what is exported: $(diff <(echo "$described") <(echo "$exported") || true)"

pages=("$@" "$SOURCE_ROOT"/docs/man/*.1)
parts=("$SOURCE_ROOT"/docs/man/*.3.in) # a page that is not built here is there all the same
parts=("${parts[@]##*/}")
names=$(printf '%s\n' "${pages[@]##*/}" "${parts[@]%.in}") # no pipe into grep -q: who writes to one that has gone fails
while IFS= read -r reference; do
    grep -qx -- "$reference" <<<"$names" || complain "no such page: $reference"
done < <(sed -n 's/^\.\(It \)\{0,1\}Xr \([^ ]*\) \([13]\).*/\2.\3/p' "${pages[@]}" | sed 's/\\-/-/g' | grep -E '^(lib)?qcbm' | sort -u)
if command -v groff >/dev/null; then
    for page in "${pages[@]}"; do
        said=$(groff -ww -mdoc -Tutf8 "$page" 2>&1 >/dev/null)
        [ -z "$said" ] || complain "$said"
    done
fi
[ "$bad" -eq 0 ] || exit 1
echo "$(wc -w <<<"$exported") functions on $# pages"
