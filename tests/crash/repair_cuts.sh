#!/usr/bin/env bash
# repair_cuts.sh - an image of each kind of damage to repair_cuts: repair_cuts.sh PROGRAM RANDOM [SEED]
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/../interop/repair_mutations.py" --make "$folder" --seed "${3:-1}"
cd "$folder"
"$program" "$2" ./*.qcow2
