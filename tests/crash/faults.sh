#!/usr/bin/env bash
# Each call of the library fails once: faults.sh PROGRAM alloc|calls [IMAGE...]; all images of shapes.sh: IMAGE = all
# CRASH_STRIDE: of so many calls one (default 4); 1 = all.
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
kind=$2
shift 2
[ $# -gt 0 ] || set -- two-512.qcow2 hole.qcow2 snapshots.qcow2 chain.qcow2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/shapes.sh" "$folder"
cd "$folder"
images=("$@")
[ "$1" != all ] || mapfile -t images <list
"$program" "$kind" "${CRASH_STRIDE:-4}" "${images[@]}"
