#!/usr/bin/env bash
# oss_fuzz_build.sh - build the targets the way OSS-Fuzz does, without network: into $OUT, with $CC, $CFLAGS, $CXX,
# $CXXFLAGS, $LIB_FUZZING_ENGINE
# SPDX-License-Identifier: MIT
#
# Needs meson, ninja, and zlib, libxxhash, libzstd and json-c with their static archives
# (scripts/install-deps.sh build fuzz): the targets run where these are not installed. To try it:
#   OUT=/tmp/out CC=clang CXX=clang++ CFLAGS="-g -O1 -fsanitize=address,fuzzer-no-link" fuzz/oss_fuzz_build.sh
set -euo pipefail
source=${SRC:+$SRC/qcbm}
[ -n "$source" ] && [ -d "$source" ] || source=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "${OUT:?the folder for targets, seeds and dictionaries}" && cd "$OUT" && pwd)
work=${WORK:-${TMPDIR:-/tmp}}
export CC=${CC:-clang} CXX=${CXX:-clang++} CFLAGS=${CFLAGS:--g -O1 -fsanitize=address,fuzzer-no-link}
export CXXFLAGS=${CXXFLAGS:-$CFLAGS}
build=$(mkdir -p "$work" && mktemp -d "$work/qcbm-fuzz.XXXXXX")
trap 'rm -rf "$build"' EXIT
meson=meson
[ ! -x /usr/bin/meson ] || meson=/usr/bin/meson

off=()
for feature in tests python go rust seccomp nbd sha256; do
    off+=("-D$feature=disabled")
done
"$meson" setup --buildtype=plain -Dprefer_static=true -Db_lundef=false -Dfuzz=true -Dman=false -Dzstd=enabled \
    "${off[@]}" "-Dfuzz_engine=${LIB_FUZZING_ENGINE:--fsanitize=fuzzer}" "$build" "$source"
ninja -C "$build" "-j$(nproc)" fuzz

cd "$source/fuzz"
for file in fuzz_*.c; do
    name=${file%.c}
    [ "$name" != fuzz_file ] || continue # what targets share
    cp "$build/fuzz/$name" "$out/"
    folders=("corpus/${name#fuzz_}")
    [ -d "${folders[0]}" ] || folders=(corpus/image)
    [ ! -d "corpus/found_${name#fuzz_}" ] || folders+=("corpus/found_${name#fuzz_}")
    rm -f "$out/${name}_seed_corpus.zip"
    python3 -m zipfile -c "$out/${name}_seed_corpus.zip" "${folders[@]}"
    dict=${name#fuzz_}
    dict=dict/${dict%%_*}.dict # as run.sh does
    [ -f "$dict" ] || dict=dict/qcow2.dict
    cp "$dict" "$out/$name.dict"
    printf '[libfuzzer]\nmax_len = 131072\ntimeout = 5\n' >"$out/$name.options"
done
