#!/usr/bin/env python3
# page.py - docs/recipes.md as it stands: its commands, one block after the other, in one folder
#
# SPDX-License-Identifier: MIT
#
# usage: page.py PAGE    environment: QCBM = path of the tool
#
# "sh" blocks go to one bash, which ends at the first command that fails. "json" blocks are what is typed to the program of
# the block before, which reads its input. What needs a running domain, or a storage, is done by functions of that shell: virsh does
# nothing, a full backup of virtnbdbackup is one of the domain that is off (tests/recipes/virtnbdbackup.sh tells more).
# Of the section "libvirt", which tests/recipes/libvirt.sh runs by hand, only the commands of qcbm are run.

import json
import os
import re
import subprocess
import sys
import tempfile

TIMEOUT = 300
BY_HAND = 'libvirt'
# What has happened when a section begins.
BEFORE = {'A manifest beside each backup': 'before_manifest', 'After a crash, exactly': 'crash_of vm.qcow2',
          'Against a backup of Proxmox Backup Server': 'before_pbs', 'libvirt': 'before_libvirt', 'After a crash': 'before_crash', 'Lists for other programs': 'before_lists',
          'Raw disks': 'before_raw'}

PRELUDE = r'''
set -euo pipefail
trap 'cat nbd.pid far-*.pid 2>/dev/null | xargs -r kill 2>/dev/null || true' EXIT
virsh() { :; }
define() {
    cat >node.xml <<END
<node>
  <domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
    <test:runstate>5</test:runstate><name>vm</name><memory>65536</memory><os><type>hvm</type></os>
    <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$PWD/$1'/>
      <target dev='vda' bus='virtio'/></disk></devices>
  </domain>
</node>
END
}
virtnbdbackup() {
    if [[ $* != *"-l full"* ]]; then
        define overlay.qcow2
        command virtnbdbackup -U "test://$PWD/node.xml" -n -f "$PWD/sock" "$@"
        return
    fi
    define base.qcow2
    mkdir -p backup
    command virtnbdbackup -U "test://$PWD/node.xml" -n -f "$PWD/sock" "$@"
    mv backup/vda.copy.data backup/vda.full.data
    mv backup/vda.copy.qcow.json backup/vda.virtnbdbackup.0.qcow.json
    mv backup/vmconfig.copy.xml backup/vmconfig.virtnbdbackup.0.xml
    echo '["virtnbdbackup.0"]' >backup/vm.cpt
    qemu-img bitmap --add base.qcow2 virtnbdbackup.0
}
virtnbdrestore() { command virtnbdrestore -U "test://$PWD/node.xml" -n -f "$PWD/sock" "$@"; }
# libvirt has made the checkpoint C with the full backup
before_libvirt() { qemu-img bitmap --add base.qcow2 C; }
before_crash() {
    qcbm bitmap --prune '*' overlay.qcow2
    qemu-img create -q -f qcow2 disk.qcow2 16M
    for image in overlay.qcow2 disk.qcow2; do
        qemu-img bitmap --add "$image" nightly
        (ulimit -c 0; qemu-io -f qcow2 -c 'write -q -P 0x31 5M 300k' -c flush -c abort "$image") || true
    done
}
crash_of() { (ulimit -c 0; qemu-io -f qcow2 -c 'write -q -P 0x31 5M 300k' -c flush -c abort "$1") || true; }
before_manifest() { qemu-img create -q -f qcow2 vm.qcow2 48M && qemu-io -f qcow2 -c 'write -q -P 1 0 20M' vm.qcow2; }
before_pbs() {
    qemu-img convert -O raw vm.qcow2 vm.raw
    python3 - <<'END'
import hashlib, struct
data = open('vm.raw', 'rb').read()
digests = b''.join(hashlib.sha256(data[at:at + (4 << 20)]).digest() for at in range(0, len(data), 4 << 20))
head = bytes.fromhex('2f7f41ed91fd0fcd') + bytes(24) + hashlib.sha256(digests).digest() + struct.pack('<QQ', len(data), 4 << 20)
open('drive-scsi0.img.fidx', 'wb').write(head.ljust(4096, b'\0') + digests)
END
}
before_lists() { qemu-img create -q -f qcow2 ceph.qcow2 16M && qemu-img create -q -f qcow2 thin.qcow2 16M; }
# as large as the differences that the storages below tell of
before_raw() { truncate -s 16M disk.raw && qemu-io -f raw -c 'write -q -P 0x61 1M 9M' disk.raw; }
rbd() { # a raw file is the cluster
    case $1 in
    import) cp "$2" ceph.raw ;;
    snap) echo "${3#*@}" >ceph.raw.snapshots ;;
    import-diff) python3 "$DELTA_READ" rbd-diff ceph.raw "$2" ;;
    export) cp ceph.raw "$3" ;;
    *) rbd_diff ;;
    esac
}
rbd_diff() { echo '[{"offset":0,"length":4194304,"exists":"true"},{"offset":8388608,"length":4194304,"exists":"false"}]'; }
thin_delta() {
    echo '<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="256">
<diff left="7" right="9"><different begin="16" length="2"/><right_only begin="32" length="1"/></diff></superblock>'
}
# typed LINES COMMAND...: LINES are typed, each when the answer to the one before is there
typed() { python3 -c "$TYPIST" "$@"; }
'''

# Waits as the page tells a person to: for the answer, after a job for its end; then for the end of the program.
TYPIST = r'''
import json, subprocess, sys
lines, argv = json.loads(sys.argv[1]), sys.argv[2:]
p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def answers():
    for row in p.stdout:
        print("    " + row, end="", flush=True)
        yield json.loads(row)
rows = answers()
next(rows)  # the greeting
for line in lines:
    print("  > " + line, flush=True)
    p.stdin.write(line + "\n")
    p.stdin.flush()
    command = json.loads(line)["execute"]
    for row in rows:
        if "error" in row:
            sys.exit("refused: %s" % row)
        if "return" in row:
            if command == "query-jobs" and any("error" in job for job in row["return"]):
                sys.exit("the job failed: %s" % row)
            break
    if command == "blockdev-backup":
        for row in rows:
            if row.get("event") == "JOB_STATUS_CHANGE" and row["data"]["status"] == "concluded":
                break
sys.exit(p.wait(timeout=60))
'''


def blocks(page):
    """(section, language, text) of each block of the page."""
    section, out = '', []
    for match in re.finditer(r'^## ([^\n]*)$|^```(\w+)\n(.*?)^```$', page, re.M | re.S):
        if match.group(1):
            section = match.group(1)
        else:
            out.append((section, match.group(2), match.group(3)))
    return out


def script(page):
    """The page as one script for bash."""
    lines, pending, last = [PRELUDE], None, ''
    for section, language, text in blocks(page):
        if section != last:
            lines.append(BEFORE.get(section, ''))
        last = section
        if pending and language != 'json':
            lines.append('typed %s %s' % (quote(json.dumps(pending[1])), pending[0]))
            pending = None
        if language == 'json':
            pending[1].extend(text.splitlines())
        elif language == 'sh' and section == BY_HAND:
            lines += [line for line in text.splitlines() if line.startswith('qcbm ')]
        elif language == 'sh' and text.startswith('qemu-storage-daemon'):
            pending = (text.rstrip('\n'), [])
        elif language == 'sh':
            lines += ['echo "== %s"' % section.replace('"', ''), text]
    return '\n'.join(lines) + '\nqemu-img check -q overlay.qcow2\n'


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def main():
    with open(sys.argv[1], encoding='utf-8') as f:
        page = f.read()
    found = blocks(page)
    if sum(language == 'sh' for _, language, _ in found) < 12 or {s for s, _, _ in found} < {BY_HAND, 'virtnbdbackup'}:
        raise SystemExit('the page is not understood: %r' % [(s, l) for s, l, _ in found])
    tool = os.path.abspath(os.environ['QCBM'])
    with tempfile.TemporaryDirectory(prefix='qcbm-page.') as scratch:
        os.mkdir(scratch + '/bin')
        os.mkdir(scratch + '/folder')
        os.symlink(tool, scratch + '/bin/qcbm')
        env = dict(os.environ, PATH=scratch + '/bin:' + os.environ['PATH'], HOME=scratch, LC_ALL='C.UTF-8', TYPIST=TYPIST,
                   DELTA_READ=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop', 'delta_read.py'))
        done = subprocess.run(['bash', '-c', script(page)], cwd=scratch + '/folder', env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False)
    print(done.stdout)
    print('exit code %d' % done.returncode)
    return done.returncode


if __name__ == '__main__':
    sys.exit(main())
