#!/usr/bin/env bash
# All cuts of all operations on all shapes: cuts.sh PROGRAM
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/shapes.sh" "$folder"
rm "$folder/base.qcow2"
cd "$folder"
"$program" ./*.qcow2
