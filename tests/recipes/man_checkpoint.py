#!/usr/bin/env python3
# man_checkpoint.py - the examples of qcbm-checkpoint(1), run as they are printed
# SPDX-License-Identifier: MIT
#
# Each example has a folder with what it takes for granted. Of virsh only libvirt's test driver is needed.
# Argument: the page. Environment: QCBM = the command.
import os
import re
import shutil
import subprocess
import sys
import tempfile

QCBM = os.environ['QCBM']
DOMAIN = """<domain type='test'><name>vm1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>
"""
# A driver that knows nothing from one call to the next: all that was done so far is done again.
VIRSH = """#!/bin/sh
if [ "$1" = dumpxml ]; then exec cat "$FOLDER/domain.xml"; fi
echo "$*" >> "$FOLDER/lines"
exec %s -c test:///default "define $FOLDER/domain.xml; start $2; $(tr '\\n' ';' < "$FOLDER/lines")"
"""


def run(folder, command, rc=0, shell=True):
    path = os.pathsep.join((os.path.join(folder, 'bin'), os.path.dirname(QCBM), os.environ['PATH']))
    env = dict(os.environ, PATH=path, FOLDER=folder)
    done = subprocess.run(['bash', '-o', 'pipefail', '-c', command] if shell else command, cwd=folder, env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if rc is not None and done.returncode != rc:
        sys.exit('%s\n  exit code %d\n%s%s' % (command, done.returncode, done.stdout, done.stderr))
    return done


def examples(page):
    """Of each literal block behind .Sh EXAMPLES the commands, each with the output that is printed below it."""
    text = open(page, encoding='utf-8').read().split('.Sh EXAMPLES')[1]
    for block in re.findall(r'\.Bd -literal[^\n]*\n(.*?)\n\.Ed', text, re.S):
        lines = block.replace('\\e', '\\').replace('\\(aq', "'").replace('\\-', '-').split('\n')
        commands = []
        for line in lines:
            if line.startswith('$ '):
                commands.append([line[2:], ''])
            elif commands[-1][0].endswith('\\'):
                commands[-1][0] += '\n' + line
            else:
                commands[-1][1] += line + ' '
        yield [(command, ' '.join(output.split())) for command, output in commands]


def prepare(folder):
    os.mkdir(os.path.join(folder, 'bin'))
    with open(os.path.join(folder, 'bin', 'virsh'), 'w', encoding='utf-8') as f:
        f.write(VIRSH % shutil.which('virsh'))
    os.chmod(f.name, 0o755)
    for image in 'a.qcow2', 'b.qcow2':
        run(folder, 'qemu-img create -q -f qcow2 %s 2M' % image)
    run(folder, 'qemu-img bitmap --add a.qcow2 sunday; qemu-io -f qcow2 -c "write 64k 64k" a.qcow2')
    with open(os.path.join(folder, 'domain.xml'), 'w', encoding='utf-8') as f:
        f.write(DOMAIN % os.path.join(folder, 'a.qcow2'))


def served(folder, command, _):
    """qemu-nbd stays until somebody has asked: nbdinfo does, and the bitmap says what was written."""
    out = run(folder, 'nbdinfo --map=qemu:dirty-bitmap:sunday -- [ %s ]' % command).stdout
    if not re.search(r'65536 +65536 +1', out):
        sys.exit('%s\n%s' % (command, out))


def power_cut(folder):
    """Killed at a write behind the links."""
    words = 'checkpoint create monday --disk vda=a.qcow2 --disk vdb=b.qcow2'
    for n in range(1, 200):
        run(folder, 'ASAN_OPTIONS=detect_leaks=0 strace -f -o /dev/null -e trace=pwrite64 '
                    '-e inject=pwrite64:signal=KILL:when=%d qcbm %s' % (n, words), rc=None)
        if os.path.lexists(os.path.join(folder, 'a.qcow2.qcbm-journal')):
            return
    sys.exit('it was never cut')


def refused(folder, command, says):
    said = ' '.join(run(folder, command, rc=1).stderr.split())
    if said != says:
        sys.exit('%s says\n%s\nand not\n%s' % (command, said, says))


def broken_chain(folder):
    run(folder, 'qemu-img bitmap --add a.qcow2 C; mv a.qcow2 base.qcow2; '
                'qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2; qemu-io -f qcow2 -c "write 0 4k" a.qcow2')


def not_valid(folder, command, _):
    run(folder, command, rc=2)


def known_checkpoints(folder):
    run(folder, 'virsh dumpxml vm1 > vm1.xml; for c in monday tuesday; do qemu-img bitmap --add a.qcow2 $c; done')


# Of each example, in the order of the page: what it takes for granted; commands that do not simply succeed; and what
# must hold behind it.
EXAMPLES = [
    (None, {1: served}, 'qemu-img info a.qcow2 | grep -q monday && qemu-img info b.qcow2 | grep -q monday'),
    (None, {}, 'qemu-img info a2.qcow2 | grep -q monday && ! qemu-img info a.qcow2 | grep -q monday'),
    (power_cut, {0: refused}, 'qcbm bitmap --add a.qcow2 x && ! qemu-img info a.qcow2 | grep -q monday'),
    (broken_chain, {1: not_valid}, 'qcbm checkpoint verify --domain vm1.xml --names C'),
    (known_checkpoints, {}, 'test "$(wc -l < lines)" = 2'),
]


def main():
    found = list(examples(sys.argv[1]))
    if len(found) != len(EXAMPLES):
        sys.exit('the page has %d examples, %d are known here' % (len(found), len(EXAMPLES)))
    for commands, (before, special, behind) in zip(found, EXAMPLES):
        with tempfile.TemporaryDirectory(prefix='qcbm-man.') as folder:
            folder = os.path.realpath(folder)
            prepare(folder)
            if before:
                before(folder)
            for i, (command, says) in enumerate(commands):
                command, says = command.replace('/vm/', folder + '/'), says.replace('/vm/', folder + '/')
                special.get(i, lambda folder, command, _: run(folder, command))(folder, command, says)
            run(folder, behind)
    print('%d examples' % len(found))


if __name__ == '__main__':
    main()
