#!/usr/bin/env bash
# coverage.sh - lines of libqcbm/ that the targets reach, file by file: coverage.sh BUILD [CAMPAIGN]
# SPDX-License-Identifier: MIT
#
# Builds the replay programs in BUILD with clang's coverage (the folder is made if it is not there), replays the
# committed seeds, and what is in CAMPAIGN/corpus, and prints a line a file and the sum. BUILD/lines.txt shows each line.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
[ $# -ge 1 ] || {
    echo "usage: coverage.sh BUILD [CAMPAIGN]" >&2
    exit 2
}
build=$1 campaign=${2:-}
tool() { # the version that goes with clang, if there are several
    command -v "$1-$(clang -dumpversion | cut -d. -f1)" || command -v "$1"
}
profdata=$(tool llvm-profdata)
cov=$(tool llvm-cov)

[ -d "$build" ] || CC=clang meson setup "$build" "$source" -Dman=false -Dbuildtype=debug \
    -Dc_args="-fprofile-instr-generate -fcoverage-mapping" -Dc_link_args=-fprofile-instr-generate >/dev/null
programs=()
for file in "$here"/fuzz_*.c; do
    name=$(basename "$file" .c)
    name=${name#fuzz_}
    [ "$name" = file ] || programs+=("fuzz/replay_$name")
done
ninja -C "$build" "${programs[@]}" >/dev/null

rm -f "$build"/fuzz/*.profraw
objects=()
for program in "${programs[@]}"; do
    name=${program#fuzz/replay_}
    folders=("$here/corpus/image")
    for more in "$here/corpus/$name" "$here/corpus/found_$name" "$campaign/corpus/$name"; do
        [ ! -d "$more" ] || folders+=("$more")
    done
    LLVM_PROFILE_FILE="$build/fuzz/$name.profraw" "$build/$program" "${folders[@]}" 2>"$build/fuzz/$name.log" || {
        tail -3 "$build/fuzz/$name.log" >&2
        exit 1
    }
    objects+=(${objects[0]:+-object} "$build/$program") # the first one has no option
done
only='-ignore-filename-regex=/(fuzz|tools|support)/[^/]*$'
"$profdata" merge -sparse "$build"/fuzz/*.profraw -o "$build/all.profdata"
"$cov" show -use-color=false -instr-profile="$build/all.profdata" "${objects[@]}" "$only" >"$build/lines.txt"
"$cov" report -instr-profile="$build/all.profdata" "${objects[@]}" "$only" |
    awk '/\.[ch] / || /^TOTAL/ { printf "%-34s %6d lines %6d missed %7s\n", $1, $8, $9, $10 }'
