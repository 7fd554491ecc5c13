# lib.sh - what the recipes share: how they tell what they do, and what they need
# SPDX-License-Identifier: MIT
# shellcheck shell=bash
exec 2>&1 # messages in order with the output
export LC_ALL=C

die() { echo "FAIL: $*"; exit 1; }
step() { echo; echo "== $*"; }
run() { echo "+ $*" >&2; "$@"; }

# need TOOL...: qcbm and these are there
need() {
    QCBM=$(command -v "${QCBM:-qcbm}") || die "qcbm not found: set QCBM=path"
    QCBM=$(realpath -- "$QCBM")
    for tool in "$@"; do
        command -v "$tool" > /dev/null || die "$tool is not installed"
    done
}
