# untrusted.sh - the verdict: harmless, not harmless with reasons, none
# SPDX-License-Identifier: MIT
ends_with() {
    local expected=$1 code=0
    shift
    qcbm check --untrusted "$@" || code=$?
    [ "$code" -eq "$expected" ] || complain "exit code $code, not $expected: $*"
}

qemu-img create -q -f qcow2 good.qcow2 1M
qemu-img create -q -f qcow2 -b good.qcow2 -F qcow2 overlay.qcow2
echo 'no image' >text
unchanged good.qcow2 ends_with 0 good.qcow2
unchanged overlay.qcow2 ends_with 2 overlay.qcow2
ends_with 2 --no-sandbox overlay.qcow2
ends_with 2 --output=json overlay.qcow2
ends_with 2 -q overlay.qcow2
ends_with 1 missing.qcow2
ends_with 63 text
