#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Recipe "Several disks of a stopped machine" of docs/recipes.md, run for real and checked: checkpoints over three disks,
# increments over NBD, a chain broken by plain `qemu-img create -b` and mended, a commit with its bitmaps, what libvirt takes.
#
# Needs: qcbm (environment QCBM=path, else the one in PATH), qemu-img, qemu-io, qemu-nbd, nbdinfo; virsh, if it is there, for
#        libvirt's test driver. No root, no network, no libvirtd.
# Exits 0 only if every step does what the recipe says.
set -euo pipefail
# shellcheck source=tests/recipes/lib.sh
. "$(dirname -- "$0")/lib.sh"
need qemu-img qemu-io qemu-nbd nbdinfo

dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-cp.XXXXXX")
trap 'cd /; [[ ! -f $dir/nbd.pid ]] || kill "$(cat "$dir/nbd.pid")" 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
targets=(vda vdb vdc)

identical() { run qemu-img compare "$1" "$2" || die "$1 and $2 differ"; }
differ() {
    local rc=0
    run qemu-img compare -q "$1" "$2" || rc=$?
    [[ $rc == 1 ]] || die "$1 and $2 should differ"
}
checkpoint() { run "$QCBM" checkpoint "$@"; }
# disks SUFFIX: --disk for each, of the images vda$1.qcow2 ...
disks() { for d in "${targets[@]}"; do printf -- '--disk %s=%s%s.qcow2 ' "$d" "$d" "$1"; done; }
# increment IMAGE BITMAP OUT BACKING FORMAT: what the bitmap says, drawn over NBD, laid on the backup before it
increment() {
    local uri="nbd+unix:///?socket=$dir/nbd.sock" pid
    run qemu-nbd -r -f qcow2 -B "$2" -t -e 4 -k "$dir/nbd.sock" --fork --pid-file="$dir/nbd.pid" "$1"
    qemu-img create -q -f qcow2 -b "$uri" -F raw "$3"
    nbdinfo --map="qemu:dirty-bitmap:$2" "$uri" | awk '$3 == 1 { printf "read -q %d %d\n", $1, $2 }' > cmds
    qemu-io -C -f qcow2 "$3" < cmds > log || { cat log; die "the increment $3"; }
    pid=$(cat nbd.pid)
    rm nbd.pid
    kill "$pid"
    while kill -0 "$pid" 2> /dev/null; do sleep 0.01; done
    qemu-img rebase -u -f qcow2 -b "$4" -F "$5" "$3"
}
# verdict EXPECTED: the exit code of verify
verdict() {
    local rc=0 want=$1
    shift
    checkpoint verify "$@" || rc=$?
    [[ $rc == "$want" ]] || die "verify: exit code $rc, not $want"
}

step "Three disks; the full backup, and the checkpoint that goes with it, on all of them or on none"
for k in 0 1 2; do
    d=${targets[k]}
    run qemu-img create -q -f qcow2 "$d.qcow2" 32M
    run qemu-io -f qcow2 -c "write -q -P $((k + 1)) ${k}M 4M" "$d.qcow2"
done
# shellcheck disable=SC2046 # words
checkpoint create monday $(disks '')
for d in "${targets[@]}"; do qemu-img convert -f qcow2 -O raw "$d.qcow2" "$d-full.raw"; done

step "The machine ran, and is off again: the next checkpoint, then the increment since monday"
for k in 0 1 2; do run qemu-io -f qcow2 -c "write -q -P 0x1$k $((8 + k))M 300k" -c "write -q -z ${k}M 64k" "${targets[k]}.qcow2"; done
# shellcheck disable=SC2046
checkpoint create tuesday $(disks '')
for d in "${targets[@]}"; do
    differ "$d-full.raw" "$d.qcow2"
    increment "$d.qcow2" monday "$d-inc1.qcow2" "$d-full.raw" raw
    identical "$d-inc1.qcow2" "$d.qcow2"
done

step "It ran again; then somebody put overlays on the disks with plain qemu-img, and it ran on them"
for k in 0 1 2; do
    d=${targets[k]}
    run qemu-io -f qcow2 -c "write -q -P 0x2$k 16M 64k" "$d.qcow2"
    run qemu-img create -q -f qcow2 -b "$d.qcow2" -F qcow2 "$d-2.qcow2"
    run qemu-io -f qcow2 -c "write -q -P 0x3$k 20M 100k" -c "write -q -P 0x4$k 8M 4k" "$d-2.qcow2"
done
# shellcheck disable=SC2046
verdict 2 $(disks -2)

step "Mended: all that the overlays hold is marked in them"
# shellcheck disable=SC2046
{
    checkpoint mend monday $(disks -2)
    checkpoint mend tuesday $(disks -2)
    verdict 0 $(disks -2)
}

step "The increment since tuesday: qemu-nbd serves the bitmap of one layer, so those of all go into one"
for d in "${targets[@]}"; do
    run "$QCBM" bitmap --collect tuesday --as since-tuesday "$d-2.qcow2"
    increment "$d-2.qcow2" since-tuesday "$d-inc2.qcow2" "$d-inc1.qcow2" qcow2
    differ "$d-inc1.qcow2" "$d-2.qcow2"
    identical "$d-inc2.qcow2" "$d-2.qcow2"
done

step "What is not needed any more goes: monday, and the bitmap for qemu-nbd"
# shellcheck disable=SC2046
{
    checkpoint reclaim --keep tuesday $(disks -2)
    verdict 0 --names=tuesday $(disks -2)
}
[[ $("$QCBM" bitmap --list --chain --output=json vda-2.qcow2 | grep -c '"name": "tuesday"') == 2 ]] || die "other bitmaps are left"

step "The overlays go: bitmaps first, then the data"
for d in "${targets[@]}"; do
    run "$QCBM" bitmap --commit-into "$d.qcow2" "$d-2.qcow2"
    run qemu-img commit -q -b "$d.qcow2" "$d-2.qcow2"
done
# shellcheck disable=SC2046
verdict 0 --names=tuesday $(disks '')
for d in "${targets[@]}"; do
    increment "$d.qcow2" tuesday "$d-inc3.qcow2" "$d-inc1.qcow2" qcow2
    identical "$d-inc3.qcow2" "$d.qcow2"
done

step "libvirt takes the checkpoint"
{
    echo "<domain type='test'><name>vm</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>"
    for d in "${targets[@]}"; do
        echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$dir/$d.qcow2'/>" \
            "<target dev='$d' bus='virtio'/></disk>"
    done
    echo "</devices></domain>"
} > vm.xml
mkdir xml
run "$QCBM" checkpoint xml tuesday --domain vm.xml --folder xml | tee lines
[[ $(cat lines) == "virsh checkpoint-create vm xml/tuesday.xml --redefine" ]] || die "another line"
if command -v virsh > /dev/null; then
    run virsh -q -c test:///default "define vm.xml; start vm; $(sed 's/^virsh //' lines); checkpoint-list vm" | tee log
    grep -q tuesday log || die "libvirt does not know it"
fi

step "A copy by something that knows no bitmaps: the bitmap and a manifest travel beside it"
run "$QCBM" bitmap --export tuesday.qcbm vda.qcow2 tuesday
run "$QCBM" manifest -q -o vda.manifest vda.qcow2
run qemu-img convert -f qcow2 -O qcow2 vda.qcow2 moved.qcow2
run "$QCBM" manifest --verify vda.manifest moved.qcow2
run "$QCBM" bitmap --import tuesday.qcbm moved.qcow2 tuesday
verdict 0 --names=tuesday --disk vda=moved.qcow2
diff <("$QCBM" extents vda.qcow2 tuesday) <("$QCBM" extents moved.qcow2 tuesday) || die "another bitmap"
cp moved.qcow2 stale.qcow2
run qemu-io -f qcow2 -c 'write -q -P 0x77 25M 4k' stale.qcow2
rc=0
run "$QCBM" manifest --verify vda.manifest stale.qcow2 || rc=$?
[[ $rc == 2 ]] || die "a copy that is not the disk: exit code $rc"

echo
echo "PASS: $(qemu-img --version | head -n 1)"
