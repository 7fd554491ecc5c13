#!/usr/bin/env bash
# Cuts of operations and of their undos, all undone: undo_cuts.sh PROGRAM [RANDOM [IMAGE...]]
# RANDOM: random subsets for each stretch between two flushes; IMAGE: names of shapes.sh, "all" for all of them.
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
random=${2:-0}
shift "$(($# < 2 ? $# : 2))"
images=("$@")
[ ${#images[@]} -gt 0 ] || images=(front.qcow2 two-512.qcow2 longname-4096.qcow2 block.qcow2 refcount-64.qcow2 subclusters.qcow2)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/shapes.sh" "$folder"
cd "$folder"
[ "${images[0]}" != all ] || mapfile -t images <list
"$program" "$random" "${images[@]}"
