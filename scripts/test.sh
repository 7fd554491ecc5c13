#!/usr/bin/env bash
# test.sh [--quick] - install what the tests need, build, run all tests; last line "N passed, N failed[, N skipped]".
#
# SPDX-License-Identifier: MIT
#
# --quick: those that need no QEMU and end soon, below a minute in all; what is left out is said before the last line.
# Exit 0 only if at least one test ran, none failed, and each skipped one is named in .ci/skips.
# Environment: BUILD_DIR (default build), MESON_ARGS (more arguments of "meson setup"), CC (when the build folder is
# new), TEST_ARGS (more arguments of "meson test": names, --suite unit, -t 3), TEST_SETUP (one of tests/meson.build),
# QCBM_NO_INSTALL=1 (install nothing), TMPDIR (where the tests have their images; if it is not set, in memory where there is room).
set -euo pipefail
cd "$(dirname "$0")/.."

setup=${TEST_SETUP:-}
case ${1:-} in
    '') ;;
    --quick) setup=quick ;;
    *)
        echo "usage: test.sh [--quick]" >&2
        exit 1
        ;;
esac

build_dir=${BUILD_DIR:-build}
read -r -a meson_args <<<"${MESON_ARGS:-}"
read -r -a test_args <<<"${TEST_ARGS:-}"

# Without QEMU, cmocka alone is needed beyond what the build needs.
if [ "$setup" = quick ]; then
    scripts/install-deps.sh build quick
else
    scripts/install-deps.sh build test
fi

# Every program that changes an image waits for the disk several times, for milliseconds each. What the library asks of a file
# system on a disk is tested below /tmp all the same, by the unit tests.
memory=/dev/shm
room=$(df --output=avail -B1M "$memory" 2>/dev/null | tail -n 1) || room=0
if [ -z "${TMPDIR:-}" ] && [ "$(df --output=fstype "$memory" 2>/dev/null | tail -n 1)" = tmpfs ] && [ -w "$memory" ] &&
    [ "$room" -ge 4096 ]; then
    TMPDIR=$(mktemp -d "$memory/q.XXXXXX") # short: sockets lie below it
    export TMPDIR
    chmod 1777 "$TMPDIR" # as /tmp is: some tests run programs as another user
    trap 'rm -rf "$TMPDIR"' EXIT
fi

# Debian's meson, also where a python of the user comes first on PATH.
meson=${MESON:-meson}
if [ -z "${MESON:-}" ] && [ -x /usr/bin/meson ]; then
    meson=/usr/bin/meson
fi

if [ -f "$build_dir/build.ninja" ]; then
    "$meson" setup --reconfigure -Dtests=enabled "${meson_args[@]}" "$build_dir"
else
    "$meson" setup -Dtests=enabled "${meson_args[@]}" "$build_dir"
fi
"$meson" compile -C "$build_dir"

log=$build_dir/meson-logs/testlog${setup:+-$setup}.json
rm -f "$log"
status=0
"$meson" test -C "$build_dir" --no-rebuild --print-errorlogs ${setup:+--setup "$setup"} "${test_args[@]}" </dev/null || status=$?

left_out() {
    comm -23 <("$meson" test -C "$build_dir" --list 2>/dev/null | grep ' / ' | sort) \
        <("$meson" test -C "$build_dir" --setup quick --list 2>/dev/null | grep ' / ' | sort) |
        sed -e 's/^qcbm://' -e 's/+[^ ]*//' | awk '{n[$1]++} END {for (s in n) print "left out: " s ", " n[s] " tests"}' | sort
    echo "left out: the cases of cli that need QEMU; all of it: scripts/test.sh"
}
[ "$setup" != quick ] || left_out

python3 - "$log" .ci/skips "$status" <<'PYTHON'
import json, os, sys

log, skips_file, meson_status = sys.argv[1], sys.argv[2], int(sys.argv[3])
results = []
if os.path.exists(log):
    with open(log, encoding="utf-8") as f:
        results = [json.loads(line) for line in f if line.strip()]
allowed = set()
if os.path.exists(skips_file):
    with open(skips_file, encoding="utf-8") as f:
        allowed = {line.split("#")[0].strip() for line in f} - {""}

passed = [r for r in results if r["result"] in ("OK", "EXPECTEDFAIL")]
skipped = [r for r in results if r["result"] == "SKIP"]
failed = [r for r in results if r not in passed and r not in skipped]
# "qcbm:unit / header" may be named in full or by its last part.
unnamed = [r for r in skipped if r["name"] not in allowed and r["name"].split(" / ")[-1] not in allowed]

for r in failed:
    if r["result"] == "TIMEOUT":
        print(f"timed out after {r['duration']:.0f} s: {r['name']} (not a wrong result: a slow or busy machine; "
              "TEST_ARGS=\"-t 4\" gives four times as long)")
    else:
        print(f"failed: {r['name']} ({r['result']})")
for r in unnamed:
    print(f"skipped, but not named in {skips_file}: {r['name']}")
if not results:
    print("no test ran")
elif meson_status != 0 and not failed:
    print(f"meson test: exit {meson_status}")
print(f"{len(passed)} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
sys.exit(1 if failed or unnamed or not passed or meson_status != 0 else 0)
PYTHON
