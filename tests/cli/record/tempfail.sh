# tempfail.sh - exit code 75 where another program has an image, and nowhere else
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
code_of() {
    local code=0
    "$@" >/dev/null 2>&1 || code=$?
    printf '%d: %s\n' "$code" "$*"
}
start_writer overlay.qcow2
code_of qcbm synth overlay.qcow2 b
code_of qcbm synth --tempfail overlay.qcow2 b
code_of qcbm synth --tempfail --record=log overlay.qcow2 b
code_of qcbm info --tempfail overlay.qcow2
code_of qcbm info --tempfail -U overlay.qcow2
code_of qcbm checkpoint create --tempfail --disk vda=overlay.qcow2 c
code_of qcbm bitmap --tempfail --list --chain overlay.qcow2
code_of qcbm bitmap --tempfail --list base.qcow2
code_of qcbm manifest --tempfail -o m overlay.qcow2
code_of qcbm bitmap --tempfail --export out overlay.qcow2 b
code_of qcbm picture --tempfail -o p.png overlay.qcow2
code_of qcbm info --tempfail nosuch
code_of qcbm synth --tempfail --nosuch overlay.qcow2
json 'v["rc"] == 75 and v["error"]["code"] == "QCBM_E_LOCKED"' cat log
