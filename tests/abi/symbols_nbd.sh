#!/usr/bin/env bash
# symbols_nbd.sh LIBRARY COMMAND LIBQCBM - libqcbm-nbd exports qcbm_nbd_*, each declared in its header, all of those, and with a version; its
# header compiles alone, as C and C++; it needs libnbd, which libqcbm and the command do not
#
# SPDX-License-Identifier: MIT
set -euo pipefail
library=$1 command=$2 libqcbm=$3
header=$SOURCE_ROOT/libqcbm-nbd/include/qcbm-nbd.h
read -r -a cc <<<"$CC"

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort)
declared=$(sed -n 's/^QCBM_API [^(]*[ *]\(qcbm_[a-z0-9_]*\)(.*/\1@@QCBM_NBD_0.1/p' "$header" | sort)
[ "$(wc -w <<<"$declared")" -gt 5 ] || {
    echo "only $(wc -w <<<"$declared") functions are declared"
    exit 1
}
diff <(echo "$exported") <(echo "$declared")

for language in c11 c++11; do
    kind=c compiler=("${cc[@]}")
    [[ $language != c++* ]] || kind=c++ compiler=(g++)
    "${compiler[@]}" "-std=$language" -Wall -Wextra -Wpedantic -Wundef -Werror -fsyntax-only -I "$SOURCE_ROOT/libqcbm/include" \
        -I "${header%/*}" -x "$kind" - <<<"#include <qcbm-nbd.h>
#include <qcbm-nbd.h>
extern struct qcbm_nbd_options qcbm_test_options;
struct qcbm_nbd_options qcbm_test_options = QCBM_NBD_OPTIONS_INIT;"
done

needed() {
    readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}
grep -q '^libnbd\.so' <<<"$(needed "$library")"
for other in "$command" "$libqcbm"; do
    [ -n "$(needed "$other")" ]
    if grep -E 'nbd|gnutls|libxml' <<<"$(needed "$other")"; then
        echo "$other is linked with it"
        exit 1
    fi
done
echo "$(wc -w <<<"$exported") exported"
