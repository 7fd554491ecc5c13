#!/usr/bin/env bash
# Every truncation, or single-byte changes, of fixtures: mutate.sh PROGRAM truncate|bytes [all] CASE...
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1") mode=$2
shift 2
all=()
if [[ $1 == all ]]; then
    all=(all)
    shift
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/../fixtures/make.py" "$folder" "$@" >"$folder/list"
while IFS= read -r image; do
    "$program" "$mode" "$folder/$image" "${all[@]}"
done <"$folder/list"
