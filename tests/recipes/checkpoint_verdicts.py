#!/usr/bin/env python3
# checkpoint_verdicts.py - is what `qcbm checkpoint verify` says what libvirt says? Random chains, a machine with eight of
# them at a time, and for each checkpoint of each disk --redefine-validate of the machine, paused
#
# SPDX-License-Identifier: MIT
#
# Run by checkpoint-libvirt.sh, which has a libvirtd of its own; the first argument is the number of chains, the second the
# seed. Prints how often each verdict was met; exits 1 if one differs.

import collections
import json
import os
import random
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))
from like import kill_writer  # noqa: E402
from qtool import MiB, Work  # noqa: E402
import qtool  # noqa: E402

DISKS = 8
UUID = '7c1de0c4-4f0b-4b8e-9f0c-5a3c6a1e2d91'


def some_chain(work, rng, target):
    """Layers from the top down; in each any of three checkpoints in any state."""
    size, images = rng.choice([1, 2, 3]) * MiB, []
    odds = {name: rng.choice([0.5, 0.9, 1]) for name in 'ABC'}
    begins = {name: rng.randint(0, 2) for name in 'ABC'}
    for n in range(rng.randint(1, 4)):
        image = '%s-%d.qcow2' % (target, n)
        size = size if rng.random() < 0.8 else rng.choice([1, 2, 3]) * MiB
        work.create(image, size, '', images[0] if images else None)
        for name in 'ABC':
            if n >= begins[name] and rng.random() < odds[name]:
                work.run('qemu-img', 'bitmap', '--add', *(['--disable'] if rng.random() < 0.1 else []),
                         '-g', rng.choice(['4k', '64k']), image, name)
        work.io(image, 'write %d 64k' % (rng.randrange(16) * 64 * 1024))
        images = [image] + images
    for image in images:
        if rng.random() < 0.07:
            kill_writer(work, image)
    return images


def domain(work, tops):
    disks = ''.join("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                    "<target dev='%s' bus='virtio'/></disk>" % (work.path(top), target) for target, top in tops.items())
    with open(work.path('dom.xml'), 'w') as f:
        f.write("<domain type='qemu'><name>verdicts</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
                "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>%s<controller type='usb' model='none'/>"
                "<memballoon model='none'/></devices></domain>" % (UUID, disks))
    return 'dom.xml'


def libvirt_says(work, name, target):
    """True, or False where it is refused for that bitmap; anything else ends the test."""
    with open(work.path('cp.xml'), 'w') as f:
        f.write("<domaincheckpoint><name>%s</name><creationTime>1700000000</creationTime><disks><disk name='%s' "
                "checkpoint='bitmap'/></disks></domaincheckpoint>" % (name, target))
    done = work.run('virsh', '-q', 'checkpoint-create', 'verdicts', 'cp.xml', '--redefine', '--redefine-validate', rc=None)
    if done.code == 0:
        work.run('virsh', '-q', 'checkpoint-delete', 'verdicts', name, '--metadata')
        return True
    if not re.search("missing or broken bitmap '%s' for disk '%s'" % (name, target), done.err):
        sys.exit('another error: ' + done.err)
    return False


def one_machine(work, rng, met):
    tops = {}
    for n in range(DISKS):
        target = 'vd' + 'abcdefgh'[n]
        tops[target] = some_chain(work, rng, target)[0]
    xml = domain(work, tops)
    told = json.loads(work.qcbm('checkpoint', 'verify', '--names=A,B,C', '--domain', xml, '--output=json', rc=(0, 2)).out)
    work.run('virsh', '-q', 'define', xml)
    work.run('virsh', '-q', 'start', '--paused', 'verdicts')
    differ = 0
    for row in told['checkpoints']:
        for disk in row['disks']:
            says = libvirt_says(work, row['name'], disk['disk'])
            met[disk['reason'] or 'valid'] += 1
            if says != disk['valid']:
                differ += 1
                print('libvirt %s, qcbm: %r %r' % (says, row['name'], disk))
    work.run('virsh', '-q', 'destroy', '--graceful', 'verdicts')
    work.run('virsh', '-q', 'undefine', 'verdicts')
    for name in os.listdir(work.dir):
        if name.endswith('.qcow2'):
            os.unlink(work.path(name))
    return differ


def main():
    chains, seed = int(sys.argv[1]), int(sys.argv[2])
    qtool.QCBM = qtool.qcbm_path()
    os.mkdir('verdicts')
    rng, met, differ = random.Random(seed), collections.Counter(), 0
    for _ in range(-(-chains // DISKS)):
        differ += one_machine(Work(os.path.abspath('verdicts')), rng, met)
    print('%d chains, %d verdicts: %s; %d differ' % (-(-chains // DISKS) * DISKS, sum(met.values()),
                                                    ', '.join('%d %s' % (n, what) for what, n in met.most_common()), differ))
    sys.exit(differ > 0)


if __name__ == '__main__':
    main()
