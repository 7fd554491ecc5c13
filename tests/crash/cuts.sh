#!/usr/bin/env bash
# All cuts of all operations on all shapes: cuts.sh PROGRAM [RANDOM]
# RANDOM: random subsets for each stretch between two flushes; CRASH_RANDOM in the environment, else 8.
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/shapes.sh" "$folder"
cd "$folder"
mapfile -t images <list
"$program" "${2:-${CRASH_RANDOM:-8}}" 0 "${images[@]}"
