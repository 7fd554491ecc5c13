#!/usr/bin/env bash
# layers.sh - no include goes upward: base <- format <- io <- image <- bitmap <- ops; tools and examples see only the
# public headers and their own folder
#
# SPDX-License-Identifier: MIT
#
# An exception is a comment on the line: #include "x.h" /* layers: why */
set -euo pipefail
cd "$SOURCE_ROOT"
layers=(base format io image bitmap ops)
declare -A rank where
for i in "${!layers[@]}"; do
    rank[${layers[i]}]=$i
    for header in libqcbm/"${layers[i]}"/*.h; do
        [ -f "$header" ] || continue
        name=${header##*/}
        [ -z "${where[$name]:-}" ] || {
            echo "two headers of one name: $name in ${where[$name]} and ${layers[i]}"
            exit 1
        }
        where[$name]=${layers[i]}
    done
done

bad=0
seen=0
# file, what it includes with "" or as <qcbm...>
while IFS=: read -r file line name; do
    seen=$((seen + 1))
    name=${name##*/}
    case "$name" in qcbm.h | qcbm-io.h) continue ;; esac
    folder=${file%/*}
    if [[ $folder == libqcbm/* ]]; then
        own=${folder#libqcbm/}
        target=${where[$name]:-}
        if [ -z "$target" ]; then
            echo "$file:$line: $name is in no layer of libqcbm"
            bad=1
        elif [ "${rank[$target]}" -gt "${rank[$own]}" ]; then
            echo "$file:$line: $own/ includes $target/$name, which is above it"
            bad=1
        fi
    elif [ ! -f "$folder/$name" ]; then
        echo "$file:$line: $folder/ sees only qcbm.h, qcbm-io.h and its own headers, not $name"
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
