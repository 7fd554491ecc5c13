#!/usr/bin/env bash
# layers.sh - no include goes upward: base <- format <- io <- image <- write <- bitmap <- manifest <- check, dump, ops, rawdisk <- repair, rescue,
# checkpoint <- delta <- api; tools and examples see only the public headers and their own folder
#
# SPDX-License-Identifier: MIT
#
# An include of the library names the room: "base/alloc.h". check, dump, ops and rawdisk do not know one another. What the objects
# call is looked at by circles.py.
# An exception is a comment on the line: #include "room/x.h" /* layers: why */
set -euo pipefail
cd "$SOURCE_ROOT"
declare -A rank=([base]=0 [format]=1 [io]=2 [image]=3 [write]=4 [bitmap]=5 [manifest]=6 [check]=7 [dump]=7 [ops]=7 [rawdisk]=7 [repair]=8 [rescue]=8 [checkpoint]=8 [delta]=9 [api]=10)

bad=0
seen=0
# file, what it includes with "" or as <qcbm...>
while IFS=: read -r file line name; do
    seen=$((seen + 1))
    case "$name" in qcbm.h | qcbm-*.h) continue ;; esac
    folder=${file%/*}
    if [[ $folder == libqcbm/* ]]; then
        own=${folder#libqcbm/}
        target=${name%/*}
        if [ ! -f "libqcbm/$name" ] || [ -z "${rank[$target]:-}" ]; then
            echo "$file:$line: $name names no room of libqcbm and a header in it"
            bad=1
        elif [ "$own" != "$target" ] && [ "${rank[$target]}" -ge "${rank[$own]}" ]; then
            echo "$file:$line: $own/ includes $name, which is not below it"
            bad=1
        fi
    elif [ ! -f "$folder/$name" ]; then
        echo "$file:$line: $folder/ sees only the public headers and its own headers, not $name"
        bad=1
    fi
done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]+("|<qcbm|<q2_)' libqcbm/*/*.[ch] tools/*.[ch] \
    examples/*.[ch] 2>/dev/null | grep -v 'layers:' |
    sed -E 's/^([^:]+):([0-9]+):[^"<]*["<]([^">]+)[">].*/\1:\2:\3/')

# An empty list would pass for the wrong reason.
[ "$seen" -gt 20 ] || {
    echo "only $seen includes seen"
    exit 1
}
[ "$bad" -eq 0 ] || exit 1
echo "$seen includes, none upward"
