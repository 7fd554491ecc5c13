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

# ---- for recipes that read through NBD; they work in $dir, and have a variable server= whose process they end in a trap ----

identical() { run qemu-img compare -f "$1" -F "$3" "$2" "$4" || die "$2 and $4 differ"; }
differ() {
    local rc=0
    run qemu-img compare -f "$1" -F "$3" "$2" "$4" || rc=$?
    [[ $rc == 1 ]] || die "$2 and $4 should differ"
}
serve() { # IMAGE BITMAP: sets $uri
    local cmd=(qemu-nbd -r -f qcow2 -B "$2" -t -e 4 -k "$dir/nbd.sock" "$1")
    echo "+ ${cmd[*]} &" >&2
    "${cmd[@]}" &
    server=$!
    uri="nbd+unix:///?socket=$dir/nbd.sock"
    until nbdinfo --size "$uri" > /dev/null 2>&1; do
        kill -0 "$server" || die "qemu-nbd did not start"
        sleep 0.05
    done
}
unserve() { kill "$server"; wait "$server" || true; server=; rm -f nbd.sock; }
# fetch TARGET NAME: the dirty extents of $uri into the new qcow2 file TARGET. Reads of at most 32 MiB, each of which copies what
# it reads into TARGET (-C is copy-on-read); clusters that read as zeros become zero clusters there.
fetch() {
    run qemu-img create -q -f qcow2 -b "$uri" -F raw "$1"
    nbdinfo --map=qemu:dirty-bitmap:"$2" "$uri" > dirty.map
    awk '$3 == 1 { for (off = $1; off < $1 + $2; off += n) {
                       n = $1 + $2 - off; if (n > 33554432) n = 33554432
                       printf "read -q %d %d\n", off, n } }' dirty.map > dirty.cmds
    run qemu-io -C -f qcow2 "$1" < dirty.cmds > qemu-io.log || { cat qemu-io.log; die "the copy into $1 failed"; }
}
