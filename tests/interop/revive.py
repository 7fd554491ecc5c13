#!/usr/bin/env python3
# revive.py - QEMU is killed while a guest writes; the revived bitmap covers every byte that differs from when it was exact
#
# SPDX-License-Identifier: MIT
#
# Usage: revive.py [--rounds N] and what all tests here take. A round is a random image, a random session that is closed, and
# one that is killed; of the content nothing is asked but what qemu-img reads before and after.
# Environment: QCBM = path of the tool.

import random
import signal
import subprocess
import time

import qtool
from qtool import KiB, MiB, Qcow2, require, require_equal

SIZE = 4 * MiB
CLUSTERS = 4 * KiB, 16 * KiB, 64 * KiB


def requests(rng, n):
    """What a guest does, for qemu-io."""
    for _ in range(n):
        start = rng.randrange(SIZE // 512) * 512
        length = min(rng.choice((512, 4096, 8192, 65536, 200 * KiB)), SIZE - start)
        kind = rng.random()
        if kind < 0.75:
            yield 'write -q -P %d %d %d' % (rng.randrange(1, 256), start, length)
        elif kind < 0.85:
            yield 'write -q -z %d %d' % (start, length)
        elif kind < 0.93:
            yield 'discard -q %d %d' % (start, length)
        else:
            yield 'flush'


def content(work, name):
    work.run('qemu-img', 'convert', '-U', '-O', 'raw', name, 'content.raw')
    with open(work.path('content.raw'), 'rb') as f:
        return f.read()


def differing(before, after, unit=512):
    return qtool.ranges_norm((k, k + unit) for k in range(0, len(after), unit) if before[k:k + unit] != after[k:k + unit])


def server(work, rng):
    """One of the two programs that serve an image for writing, and its process."""
    socket = work.path('s')
    if rng.random() < 0.5:
        argv = ['qemu-nbd', '-t', '-f', 'qcow2', '--discard=unmap', '-k', socket, 'a.qcow2']
    else:
        argv = ['qemu-storage-daemon', '--blockdev', 'qcow2,node-name=n,discard=unmap,file.driver=file,file.filename=a.qcow2',
                '--nbd-server', 'addr.type=unix,addr.path=' + socket, '--export', 'nbd,id=e,node-name=n,name=,writable=on']
    work.note(' '.join(argv))
    process = subprocess.Popen(argv, cwd=work.dir, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(500):
        if subprocess.run(['qemu-io', '-r', '-f', 'raw', '-c', 'read 0 512', 'nbd+unix:///?socket=' + socket], cwd=work.dir,
                          capture_output=True).returncode == 0:
            break
        time.sleep(0.01)
    return process, 'nbd+unix:///?socket=' + socket


def killed_session(work, rng):
    process, uri = server(work, rng)
    guest = subprocess.Popen(['qemu-io', '-f', 'raw', '-d', 'unmap', uri], cwd=work.dir, stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    lines = list(requests(rng, 200))
    at_once = rng.randrange(len(lines))
    try:
        guest.stdin.write('\n'.join(lines[:at_once]) + '\n')
        guest.stdin.flush()
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        guest.stdin.write('\n'.join(lines[at_once:]) + '\n')
    except BrokenPipeError:
        pass
    finally:
        process.kill()
        process.wait()
        guest.kill()
        guest.communicate()


def one_round(work, rng, figures):
    options = 'cluster_size=%d' % rng.choice(CLUSTERS) + rng.choice(('', ',lazy_refcounts=on'))
    backing = rng.random() < 0.5
    if backing:
        work.create('base.qcow2', SIZE)
        work.io('base.qcow2', *requests(rng, 10))
    work.create('a.qcow2', '%d' % SIZE, options=options, backing='base.qcow2' if backing else None)
    work.io('a.qcow2', *requests(rng, 10))
    work.run('qemu-img', 'bitmap', '--add', '-g', '%d' % rng.choice((512, 4096, 65536)), 'a.qcow2', 'b0')
    exact = content(work, 'a.qcow2')
    work.io('a.qcow2', *requests(rng, 5))
    killed_session(work, rng)
    image = Qcow2(work.path('a.qcow2'))
    if not image.bitmaps()[0].in_use:  # it was killed before it began
        return
    if image.incompatible & 1:  # of lazy refcounts; QEMU repairs these when it is opened
        work.io('a.qcow2', 'read -q 0 512')
    changed = differing(exact, content(work, 'a.qcow2'))
    verb = rng.choice((['bitmap', '--revive', 'a.qcow2', 'b0'], ['bitmap', '--revive-all', 'a.qcow2'],
                       ['check', '-r', 'bitmaps', 'a.qcow2']))
    work.qcbm(*verb, rc=(0, 3))
    require('b0' in work.qcbm('bitmap', '--list', 'a.qcow2').out, 'the bitmap is gone')
    work.run('qemu-img', 'check', 'a.qcow2', rc=(0, 3))
    with work.serve('a.qcow2', bitmaps=['b0']) as served:
        dirty = served.dirty('b0')
    require_equal(qtool.ranges_minus(changed, dirty, SIZE), [], 'bytes that differ and are not dirty')
    figures.append((qtool.ranges_total(changed), qtool.ranges_total(dirty)))


def killed(work, seed, rounds):
    rng, figures = random.Random(seed), []
    for _ in range(rounds):
        one_round(work, rng, figures)
        for name in 'a.qcow2', 'base.qcow2', 's':
            subprocess.run(['rm', '-f', work.path(name)])
    require(len(figures) > rounds // 2, 'only %d of %d sessions were killed in time' % (len(figures), rounds))
    work.note('%d bitmaps revived: %d bytes differ, %d are dirty' %
              (len(figures), sum(f[0] for f in figures), sum(f[1] for f in figures)))
    print('# %d revived, %d bytes differ, %d dirty' %
          (len(figures), sum(f[0] for f in figures), sum(f[1] for f in figures)), flush=True)


def cases(args):
    return [(killed, 'killed sessions, part %d' % k, {'seed': args.seed + k, 'rounds': args.rounds // 5}) for k in range(5)]


def main():
    args = qtool.arguments(__doc__ or 'bitmaps revived after a kill', rounds=60)
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon', 'nbdinfo')
    qtool.run_cases(args, cases(args))


if __name__ == '__main__':
    main()
