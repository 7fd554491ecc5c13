#!/usr/bin/env bash
# Wrong orders of writes that the judge must catch: mutations.sh PROGRAM
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$here/shapes.sh" "$folder"
cd "$folder"
"$program" first-65536.qcow2 longname-4096.qcow2 two-512.qcow2 block.qcow2 hole.qcow2
