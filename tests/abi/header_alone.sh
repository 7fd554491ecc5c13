#!/usr/bin/env bash
# header_alone.sh - each public header compiles alone and without a warning, as C11, C17, C++11 and C++17
#
# SPDX-License-Identifier: MIT
set -euo pipefail
include=$SOURCE_ROOT/libqcbm/include
read -r -a cc <<<"$CC"
cxx=
for candidate in "${CXX:-}" c++ g++ clang++; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then
        cxx=$candidate
        break
    fi
done
[ -n "$cxx" ] || {
    echo "no C++ compiler (scripts/install-deps.sh test installs one)"
    exit 1
}

warnings=(-Wall -Wextra -Wpedantic -Wundef -Werror -fsyntax-only -I "$include")
headers=("$include"/*.h)
[ ${#headers[@]} -ge 6 ]
for header in "${headers[@]##*/}"; do
    # Twice: the include guard holds. The macro is used, so that it is compiled as well.
    source="#include <$header>
#include <$header>
extern struct qcbm_synth_options qcbm_test_options;
struct qcbm_synth_options qcbm_test_options = QCBM_SYNTH_OPTIONS_INIT;"
    for std in c11 c17; do
        "${cc[@]}" "-std=$std" "${warnings[@]}" -Wshadow -Wstrict-prototypes -Wmissing-prototypes -x c - <<<"$source"
    done
    for std in c++11 c++17; do
        "$cxx" "-std=$std" "${warnings[@]}" -x c++ - <<<"$source"
    done
    echo "$header: C and C++ ($cxx)"
done
