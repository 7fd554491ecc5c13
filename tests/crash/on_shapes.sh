#!/usr/bin/env bash
# Runs a program on the fixtures of the crash tests, in their folder: on_shapes.sh PROGRAM [ARGUMENT...]
# CRASH_IMAGES: names of images, without them all. CRASH_FOLDER: where all of them are already, with their names in "list".
# SPDX-License-Identifier: MIT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
shift
read -r -a images <<<"${CRASH_IMAGES:-}"
folder=${CRASH_FOLDER:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cases=("${images[@]%.qcow2}")
    [ ${#images[@]} -gt 0 ] || cases=(@crash)
    "$here/../fixtures/make.py" "$folder" "${cases[@]}" >"$folder/list"
fi
cd "$folder"
[ ${#images[@]} -gt 0 ] || mapfile -t images <list
"$program" "$@" "${images[@]}"
