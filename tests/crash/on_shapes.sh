#!/usr/bin/env bash
# Runs a program on the images of shapes.sh, in their folder: on_shapes.sh PROGRAM [ARGUMENT...]
# CRASH_IMAGES: names of images, without them all. CRASH_FOLDER: where shapes.sh has been run already.
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
shift
folder=${CRASH_FOLDER:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$here/shapes.sh" "$folder"
fi
cd "$folder"
read -r -a images <<<"${CRASH_IMAGES:-$(tr '\n' ' ' <list)}"
"$program" "$@" "${images[@]}"
