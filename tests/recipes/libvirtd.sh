# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# A libvirtd of one's own with a domain "recipe", for the recipes that need a libvirt; read by their scripts, see libvirt.sh.
set -euo pipefail
exec 2>&1 # messages in order with the output
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

die() { echo "FAIL: $*"; exit 1; }
step() { echo; echo "== $*"; }

QCBM=$(command -v "${QCBM:-qcbm}") || die "qcbm not found: set QCBM=path"
QCBM=$(realpath -- "$QCBM")
for tool in libvirtd virsh qemu-system-x86_64 qemu-img qemu-io nbdinfo; do
    command -v "$tool" > /dev/null || die "$tool is not installed"
done

# --- a private libvirtd -------------------------------------------------------------------------------------------------
dir=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-virt.XXXXXX")
libvirtd=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
    local rc=$? pid
    if [[ $rc != 0 && -f $dir/libvirtd.log ]]; then
        echo "--- last lines of libvirtd's log"
        tail -n 15 "$dir/libvirtd.log"
    fi
    pid=$(cat "$dir/run/libvirt/qemu/run/recipe.pid" 2> /dev/null || true)
    if [[ -n $pid ]]; then kill "$pid" || true; fi
    if [[ -n $libvirtd ]]; then
        kill "$libvirtd" || true
        wait "$libvirtd" || true
    fi
    cd /
    rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"

mkdir -m 700 run config config/libvirt cache data disk
cat > config/libvirt/qemu.conf << 'END'
stdio_handler = "file"
security_driver = "none"
END
echo 'log_outputs = "3:stderr"' > libvirtd.conf
private=(env HOME="$dir" TMPDIR="$dir" XDG_RUNTIME_DIR="$dir/run" XDG_CONFIG_HOME="$dir/config" XDG_CACHE_HOME="$dir/cache"
    XDG_DATA_HOME="$dir/data" LIBVIRT_DEFAULT_URI=qemu:///session LIBVIRT_AUTOSTART=0)
if [[ $EUID == 0 ]]; then
    chown -R nobody: "$dir"
    private=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "${private[@]}")
fi
# Everything but qcbm itself runs like this.
run() {
    echo "+ $*" >&2
    "${private[@]}" "$@"
}
"${private[@]}" libvirtd --config "$dir/libvirtd.conf" > libvirtd.log 2>&1 &
libvirtd=$!
for _ in {1..200}; do
    [[ -S run/libvirt/libvirt-sock ]] && break
    kill -0 "$libvirtd" || die "libvirtd did not start"
    sleep 0.1
done
[[ $("${private[@]}" virsh -q uri) == qemu:///session ]] || die "cannot reach the private libvirtd"

# --- helpers ------------------------------------------------------------------------------------------------------------
# refused TEXT COMMAND...: the command must fail, with TEXT in its message.
refused() {
    local text=$1 out
    shift
    echo "+ $*"
    if out=$("${private[@]}" "$@" 2>&1); then die "accepted: $*"; fi
    echo "$out"
    [[ $out == *"$text"* ]] || die "another message was expected: $text"
}
identical() { run qemu-img compare "$1" "$2" || die "$1 and $2 differ"; }
differ() {
    local rc=0
    run qemu-img compare "$1" "$2" || rc=$?
    [[ $rc == 1 ]] || die "$1 and $2 should differ"
}
# define IMAGE: the domain, with the image as its disk. The same UUID, so this edits the domain if there is one.
define() {
    cat > domain.xml << END
<domain type='qemu'>
  <name>recipe</name>
  <uuid>7c1de0c4-4f0b-4b8e-9f0c-5a3c6a1e2d90</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>$(command -v qemu-system-x86_64)</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='$dir/disk/$1'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
END
    run virsh -q define domain.xml
}
start() {
    run virsh -q start --paused recipe
    [[ $("${private[@]}" virsh -q domstate recipe) == paused ]] || die "the domain is not paused"
}
# --graceful: qemu writes its bitmaps when it ends; killed outright it leaves them "in use".
stop() {
    run virsh -q destroy --graceful recipe
    [[ $("${private[@]}" virsh -q domstate recipe) == "shut off" ]] || die "the domain runs on"
}
# backup_xml FILE TARGET [SINCE]
backup_xml() {
    {
        echo "<domainbackup mode='push'>"
        [[ $# == 2 ]] || echo "  <incremental>$3</incremental>"
        echo "  <disks>"
        echo "    <disk name='vda' backup='yes' type='file'>"
        echo "      <driver type='qcow2'/>"
        echo "      <target file='$dir/disk/$2'/>"
        echo "    </disk>"
        echo "  </disks>"
        echo "</domainbackup>"
    } > "$1"
}
# backup BACKUP.XML [CHECKPOINT.XML]: push, and wait for its end
backup() {
    local info
    run virsh -q backup-begin recipe "$@"
    for _ in {1..600}; do
        info=$("${private[@]}" virsh -q domjobinfo recipe)
        [[ $info == *"None"* ]] && break
        sleep 0.1
    done
    info=$("${private[@]}" virsh -q domjobinfo recipe --completed --anystats)
    echo "$info"
    [[ $info =~ "Job type:"\ +Completed && $info =~ Operation:\ +Backup && $info != *"Error message"* ]] || die "the backup failed"
}
checkpoint_xml() { # FILE NAME
    echo "<domaincheckpoint><name>$2</name></domaincheckpoint>" > "$1"
}
validate() { # NAME
    run virsh -q checkpoint-create recipe "checkpoint-$1.xml" --redefine --redefine-validate
    echo "libvirt accepts checkpoint $1"
}
broken() { # NAME
    refused "checkpoint inconsistent: missing or broken bitmap '$1' for disk 'vda'" \
        virsh -q checkpoint-create recipe "checkpoint-$1.xml" --redefine --redefine-validate
}
synth() { # IMAGE NAME
    echo "+ qcbm synth $1 $2"
    "$QCBM" synth "$1" "$2"
    run qemu-img check -q "$1"
    run qemu-img info "$1" | sed -n '/bitmaps:/,/refcount/p'
}
