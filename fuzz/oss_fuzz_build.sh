#!/usr/bin/env bash
# oss_fuzz_build.sh - build the targets the way OSS-Fuzz does, without network: into $OUT, with $CC, $CFLAGS,
# $LIB_FUZZING_ENGINE
# SPDX-License-Identifier: MIT
#
# Needs zlib, libxxhash, libzstd and json-c with their static archives (scripts/install-deps.sh build). To try it:
#   OUT=/tmp/out CC=clang CXX=clang++ CFLAGS="-g -O1 -fsanitize=address,fuzzer-no-link" fuzz/oss_fuzz_build.sh
set -euo pipefail
source=${SRC:+$SRC/qcbm}
[ -n "$source" ] && [ -d "$source" ] || source=$(cd "$(dirname "$0")/.." && pwd)
out=${OUT:?the folder for targets, seeds and dictionaries}
cc=${CC:-clang} cxx=${CXX:-clang++} engine=${LIB_FUZZING_ENGINE:--fsanitize=fuzzer}
read -r -a cflags <<<"${CFLAGS:--g -O1 -fsanitize=address,fuzzer-no-link}"
read -r -a cxxflags <<<"${CXXFLAGS:-${CFLAGS:--g -O1 -fsanitize=address,fuzzer-no-link}}"
work=${WORK:-$(mktemp -d)}
mkdir -p "$out" "$work"
cd "$source"

cflags+=(-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DQCBM_HAVE_ZSTD -Ifuzz -Itools -Itests/support -Ilibqcbm -Ilibqcbm/include)
libs=(-pthread "-Wl,-Bstatic" -lz -lxxhash -lzstd -ljson-c "-Wl,-Bdynamic")

compile() { # FOLDER SOURCE...: objects into $work/FOLDER
    mkdir -p "$work/$1"
    for file in "${@:2}"; do
        "$cc" "${cflags[@]}" -c "$file" -o "$work/$1/$(basename "$file" .c).o"
    done
}

compile lib libqcbm/*/*.c
compile shared fuzz/fuzz_file.c
compile image fuzz/mutate_qcow2.c fuzz/mutate_mend.c fuzz/mutate_libfuzzer.c
compile json tools/json_write.c tools/qemu_text.c tools/rows.c tools/text_out.c tools/utf8.c
compile extents tools/text_in.c tools/json_in.c tools/extents_form.c tools/extents_fields.c tools/extents_read*.c
compile builder tests/support/image_builder.c
rm -f "$work/libqcbm.a"
ar rcs "$work/libqcbm.a" "$work"/lib/*.o

for file in fuzz/fuzz_*.c; do
    name=$(basename "$file" .c)
    seeds=fuzz/corpus/${name#fuzz_} extra=() flags=()
    [ "$name" != fuzz_file ] || continue
    if [ ! -d "$seeds" ]; then
        seeds=fuzz/corpus/image
        extra=("$work"/image/*.o)
    fi
    case "$name" in
        fuzz_cli_json) extra+=("$work"/json/*.o) ;;
        fuzz_extents_file) extra+=("$work"/json/*.o "$work"/extents/*.o) ;;
        fuzz_bitmap_file | fuzz_inflate | fuzz_manifest | fuzz_fidx) extra+=("$work"/builder/*.o) ;;
        fuzz_chain) flags=("-Wl,--wrap=open64" "-Wl,--wrap=open") ;;
    esac
    compile targets "$file"
    # shellcheck disable=SC2086 # the engine may be several words
    "$cxx" "${cxxflags[@]}" "${flags[@]}" "$work/targets/$name.o" "$work"/shared/*.o "${extra[@]}" "$work/libqcbm.a" \
        $engine "${libs[@]}" -o "$out/$name"
    rm -f "$out/${name}_seed_corpus.zip"
    found=fuzz/corpus/found_${name#fuzz_}
    [ -d "$found" ] || found=
    python3 -m zipfile -c "$out/${name}_seed_corpus.zip" "$seeds"/* ${found:+"$found"/*}
    cp fuzz/dict/qcow2.dict "$out/$name.dict"
    printf '[libfuzzer]\nmax_len = 131072\ntimeout = 5\n' >"$out/$name.options"
done
