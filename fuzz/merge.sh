#!/usr/bin/env bash
# merge.sh - keep of a campaign's corpora what reaches code that the seeds do not: merge.sh BUILD CAMPAIGN OUT
# SPDX-License-Identifier: MIT
#
# OUT/<target> gets the smallest inputs that together cover what CAMPAIGN/corpus/<target> covers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 3 ] || {
    echo "usage: merge.sh BUILD CAMPAIGN OUT" >&2
    exit 2
}
build=$1 campaign=$2 out=$3
for folder in "$campaign"/corpus/*/; do
    name=$(basename "$folder")
    seeds=$here/corpus/image
    [ ! -d "$here/corpus/$name" ] || seeds=$here/corpus/$name
    mkdir -p "$out/$name"
    "$build/fuzz/fuzz_$name" -merge=1 -max_len=131072 "$out/$name" "$folder" "$seeds" >"$out/$name.log" 2>&1 || {
        tail -5 "$out/$name.log" >&2
        exit 1
    }
    rm "$out/$name.log"
    printf '%-14s %6d of %6d inputs\n' "$name" "$(find "$out/$name" -type f | wc -l)" "$(find "$folder" -type f | wc -l)"
done
