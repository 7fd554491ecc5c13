#!/usr/bin/env python3
# delta.py - `qcbm delta`: a full copy and deltas, restored by qemu-img alone, are the disk, byte for byte
#
# SPDX-License-Identifier: MIT
#
# A seed is a history: states of a disk, each made of the one before it by writes, zeros, discards and another size, kept as
# bitmaps of one image, as overlays, as snapshots, or as bitmaps along a chain. After each step the raw disk is kept, and a
# delta made. By hand: --full, 500 seeds.

import json
import os
import random
import signal
import subprocess

import qtool
from qtool import (KiB, MiB, Qcow2, arguments, need_tools, patch, peek, require, require_equal, run_cases)
from refine import random_writes

IDENTITY = 0x71634944
OPTIONS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=16k,extended_l2=on',
           'cluster_size=64k,extended_l2=on', 'cluster_size=2M', 'cluster_size=64k,compression_type=zstd', 'cluster_size=16k']
DATA_FILE = 'cluster_size=64k,data_file=%s.data'


def hex_id(seed, step):
    return '%024x%08x' % (seed + 1, step)


def raw_bytes(work, image, fmt='qcow2'):
    work.run('qemu-img', 'convert', '-f', fmt, '-O', 'raw', image, 'view')
    with open(work.path('view'), 'rb') as f:
        return f.read()


def lines_of_map(work, name):
    with open(work.path(name)) as f:
        rows = [json.loads(line) for line in f]
    require_equal((rows[0]['form'], rows[0]['format']), ('raw+map', 1), 'first line of the map')
    require_equal(rows[-1]['records'], len(rows) - 2, 'last line of the map')
    return rows[0]['size'], rows[1:-1], rows[-1]['digest']


def apply_map(work, name, before):
    """The disk behind a delta of raw and map, by this few lines."""
    size, rows, _ = lines_of_map(work, name + '.map')
    disk = bytearray(before[:size].ljust(size, b'\0'))
    with open(work.path(name), 'rb') as f:
        for r in rows:
            f.seek(r['offset'])
            data = f.read(r['length']) if r['type'] == 'data' else bytes(r['length'])
            require_equal(len(data), r['length'], 'data in the file')
            disk[r['offset']:r['offset'] + r['length']] = data
    return bytes(disk)


def check_probes(work, name, before, truth):
    """Samples are of what is not in the delta, and is the same before and after."""
    with open(work.path(name + '.json')) as f:
        probes = json.load(f)['probes']
    rows = lines_of_map(work, name + '.map')[1]
    for p in probes:
        start, end = p['offset'], p['offset'] + p['length']
        require(before.ljust(end, b'\0')[start:end] == truth[start:end], 'a sample at %d is not the same before' % start)
        require(not any(r['offset'] < end and start < r['offset'] + r['length'] for r in rows), 'a sample at %d is in the delta' % start)
    require(sum(not any(truth[p['offset']:p['offset'] + p['length']]) for p in probes) <= 16, 'samples of zeros')
    return len(probes)


def info(work, delta, *options):
    return json.loads(work.qcbm('delta', '--info', '--output=json', *options, delta).out)


# ---- histories --------------------------------------------------------------------------------------------------

class History:
    """One way to keep states; step() makes the next one, and says how a delta of it is asked for."""

    def __init__(self, work, rng):
        self.work, self.rng = work, rng
        self.size = rng.choice([MiB, 3 * MiB, 2 * MiB + 512, 64 * KiB])
        self.options = rng.choice(OPTIONS)
        self.n = 0

    def write(self, image, below):
        commands = [c for c in random_writes(self.rng, self.size, self.options, 'qcow2', below)]
        if commands:  # QEMU does not compress into a cluster that is there, which is fine
            self.work.run('qemu-io', '-f', 'qcow2', *[part for c in commands for part in ('-c', c)], image, rc=None)

    def new_size(self):
        if self.rng.random() < 0.6:
            return self.size
        return max(self.size * self.rng.choice([1, 2, 3, 5, 6]) // 4 // 512 * 512, 512)


class Bitmaps(History):
    """Checkpoints of one image, perhaps over a backing file."""

    def __init__(self, work, rng):
        super().__init__(work, rng)
        if rng.random() < 0.2:
            self.options = DATA_FILE % 'd'
        below = None
        if rng.random() < 0.5 and 'data_file' not in self.options:
            below = work.create('below', self.size, rng.choice(OPTIONS))
            self.write('below', False)
        self.image = work.create('d', self.size, self.options, below)
        self.write('d', below)

    def step(self):
        self.n += 1
        self.work.run('qemu-img', 'bitmap', '--add', '-g', self.rng.choice(['512', '4k', '64k', '1M']), 'd', 'c%d' % self.n)
        size = self.new_size()
        if size != self.size:
            self.work.run('qemu-img', 'resize', '-q', '--shrink', 'd', size)
            self.size = size
        self.write('d', False)
        return 'd', ['--bitmap', 'c%d' % self.n]


class Overlays(History):
    """A new overlay for each state; a state may be several of them."""

    def __init__(self, work, rng):
        super().__init__(work, rng)
        self.top = work.create('l0', self.size, self.options)
        self.write(self.top, False)
        self.layers = 1

    def overlay(self):
        below, self.top = self.top, 'l%d' % self.layers
        self.size, self.options = self.new_size(), self.rng.choice(OPTIONS)
        self.work.create(self.top, self.size, self.options, below)
        self.layers += 1
        self.write(self.top, True)

    def step(self):
        base = self.top
        self.n += 1
        for _ in range(self.rng.choice([1, 1, 2])):
            self.overlay()
        alone = int(self.top[1:]) - int(base[1:]) == 1
        way = ['--layer'] if alone and self.rng.random() < 0.5 else ['--since', base]
        refine = self.rng.choice([[], [], ['--refine'], ['--refine=zero']])
        return self.top, way + refine + ['-g', self.rng.choice(['512', '4k', '64k', '1M'])]


class Snapshots(History):
    """Internal snapshots of one image."""

    def __init__(self, work, rng):
        super().__init__(work, rng)
        self.image = work.create('d', self.size, self.options)
        self.write('d', False)

    def step(self):
        self.work.run('qemu-img', 'snapshot', '-c', 's%d' % self.n, 'd')
        self.n += 1
        size = max(self.new_size(), self.size)  # which is what QEMU does for an image with snapshots
        if size != self.size:
            self.work.run('qemu-img', 'resize', '-q', 'd', size)
            self.size = size
        self.write('d', False)
        before = 's%d' % (self.n - 1)
        refine = self.rng.choice([[], [], ['--refine-against', 'snapshot:' + before]])
        return 'd', ['--since-snapshot', before, '-g', self.rng.choice(['512', '4k', '64k'])] + refine


class Chain(History):
    """A checkpoint whose bitmap goes on in overlays."""

    def __init__(self, work, rng):
        super().__init__(work, rng)
        self.top = work.create('l0', self.size, self.options)
        self.write(self.top, False)
        self.layers = 1

    def step(self):
        self.n += 1
        name = 'c%d' % self.n
        self.work.run('qemu-img', 'bitmap', '--add', '-g', self.rng.choice(['4k', '64k']), self.top, name)
        self.write(self.top, False)
        for _ in range(self.rng.choice([0, 1, 2])):
            below, self.top = self.top, 'l%d' % self.layers
            self.options = self.rng.choice(OPTIONS)
            self.work.create(self.top, self.size, self.options, below)
            self.layers += 1
            self.work.run('qemu-img', 'bitmap', '--add', '-g', self.rng.choice(['4k', '64k']), self.top, name)
            self.write(self.top, True)
        return self.top, ['--bitmap', name, '--chain']


def make_delta(work, rng, image, way, out):
    options = rng.choice([[], [], ['-c', 'zlib'], ['-c', 'zstd'], ['--cluster-size', '4k'], ['--cluster-size', '2M'], ['pipe']])
    if options == ['pipe']:
        with open(work.path(out), 'wb') as f:
            f.write(work.qcbm('delta', *way, image, '-').raw_out)
    else:
        told = json.loads(work.qcbm('delta', *way, *options, '--output=json', image, out).out)
        require_equal(told['file-size'], os.path.getsize(work.path(out)), 'size of the file, as it is told')
    work.check(out)
    return options


def check_info(work, out, wanted, parent, truth):
    told = info(work, out, '--verify')
    require_equal((told['id'], told.get('parent-id'), told['verified'], told['size-after']),
                  (wanted, parent, True, len(truth)), 'what the delta says of itself')
    return told


def case_history(work, seed, kind):
    rng = random.Random(seed * 4 + [Bitmaps, Overlays, Snapshots, Chain].index(kind))
    history = kind(work, rng)
    image = getattr(history, 'image', None) or history.top
    before, previous = raw_bytes(work, image), None
    with open(work.path('full'), 'wb') as f:
        f.write(before)
    below, fmt = 'full', 'raw'
    for step in range(rng.randint(1, 4)):
        image, way = history.step()
        truth = raw_bytes(work, image)
        ids = ['--id', hex_id(seed, step)] + (['--parent-id', previous] if previous else [])
        delta = 'delta%d' % step
        options = make_delta(work, rng, image, way + ids, delta)
        told = check_info(work, delta, hex_id(seed, step), previous, truth)
        work.qcbm('delta', *way, *ids, '-O', 'raw+map', image, 'r%d' % step)
        require(apply_map(work, 'r%d' % step, before) == truth, 'raw and map: not the disk')
        check_probes(work, 'r%d' % step, before, truth)
        other = check_info(work, 'r%d' % step, hex_id(seed, step), previous, truth)
        if '--cluster-size' not in options and told['granularity'] >= 4096:  # else clusters are larger
            require_equal(other['digest'], told['digest'], 'digest of two forms')
        work.run('qemu-img', 'rebase', '-u', '-F', fmt, '-b', below, delta)
        require(raw_bytes(work, delta) == truth, 'restored by rebase and convert: not the disk')
        check_info(work, delta, hex_id(seed, step), previous, truth)
        below, fmt, before, previous = delta, 'qcow2', truth, hex_id(seed, step)


# ---- single points ----------------------------------------------------------------------------------------------

def case_zeros(work):
    """What is dirty and reads as zeros, in all ways in which it can."""
    work.create('d', 4 * MiB)
    work.io('d', 'write -q -P 7 0 4M')
    work.run('qemu-img', 'convert', '-O', 'raw', 'd', 'full')
    work.run('qemu-img', 'bitmap', '--add', 'd', 'c')
    work.io('d', 'write -q -P 1 0 64k', 'write -q -z 512k 64k', 'write -q -z -u 1M 64k', 'discard -q 2M 64k',
            'write -q -P 0 3M 64k')
    truth = raw_bytes(work, 'd')
    work.qcbm('delta', '--bitmap', 'c', 'd', 'delta')
    told = info(work, 'delta', '--verify')
    require_equal((told['data-bytes'], told['zero-bytes']), (64 * KiB, 256 * KiB), 'data and zeros')
    work.run('qemu-img', 'rebase', '-u', '-F', 'raw', '-b', 'full', 'delta')
    require(raw_bytes(work, 'delta') == truth, 'not the disk')


def small(work):
    """An overlay with data, zeros and compressed clusters, and its backing file."""
    work.create('base', 2 * MiB)
    work.io('base', 'write -q -P 1 0 2M')
    work.create('top', 2 * MiB, '', 'base')
    work.io('top', 'write -q -P 2 0 200k', 'write -q -z 512k 128k', 'write -q -c -P 3 1M 64k', 'write -q -P 4 1984k 64k')
    return raw_bytes(work, 'top')


LEFT = ('.qcbm-new', '.json.qcbm-new', '.map.qcbm-new')


def require_nothing(work, out, what):
    there = [name for name in os.listdir(work.dir) if name.startswith(out)]
    require_equal(there, [], what + ': files that are left')


def case_identity(work):
    """The identity and the content live on in all that QEMU and qcbm do to the image."""
    truth = small(work)
    ids = ['--id', '1' * 32, '--parent-id', '22222222-2222-2222-2222-222222222222', '--note', 'Größe "1"']
    work.qcbm('delta', '--layer', *ids, 'top', 'd')
    first = Qcow2(work.path('d')).extension(IDENTITY)
    before = info(work, 'd', '--verify')
    require_equal((before['parent-id'], before['note'], before['probes'], before['size-before']),
                  ('2' * 32, 'Größe "1"', 24, 2 * MiB), 'what was asked for')
    os.symlink('base', work.path('b' * 200))  # names as long as QEMU takes them
    for argv in (['qemu-img', 'rebase', '-u', '-F', 'qcow2', '-b', 'b' * 200, 'd'],
                 ['qemu-img', 'rebase', '-u', '-F', 'qcow2', '-b', './' * 400 + 'b' * 200, 'd'],
                 ['qemu-img', 'amend', '-o', 'lazy_refcounts=on', 'd'], ['qemu-img', 'bitmap', '--add', 'd', 'x'],
                 ['qemu-img', 'snapshot', '-c', 's', 'd'], ['qemu-img', 'snapshot', '-d', 's', 'd'],
                 [qtool.QCBM, 'bitmap', '--add', '-g', '512', 'd', 'y'], [qtool.QCBM, 'bitmap', '--remove', 'd', 'x'],
                 [qtool.QCBM, 'synth', 'd', 'z'], [qtool.QCBM, 'check', '-r', 'all', 'd'],
                 [qtool.QCBM, 'edit', 'd', 'header compatible_features: 1=0'],
                 ['qemu-img', 'rebase', '-u', '-b', '', 'd'], ['qemu-img', 'check', '-r', 'all', 'd']):
        work.run(*argv)
        require_equal(Qcow2(work.path('d')).extension(IDENTITY), first, 'extension behind ' + ' '.join(argv[:3]))
    require_equal({k: v for k, v in info(work, 'd', '--verify').items()}, before, 'what it says of itself')
    work.run('qemu-img', 'rebase', '-u', '-F', 'qcow2', '-b', 'base', 'd')
    require(raw_bytes(work, 'd') == truth, 'not the disk')
    require('identity' in work.qcbm('dump', 'd', 'extensions').out, 'dump names it')
    work.qcbm('delta', '--layer', 'top', 'long', '--cluster-size', '4k')
    work.run('qemu-img', 'rebase', '-u', '-F', 'qcow2', '-b', './' * 400 + 'b' * 200, 'long')


def case_parent_of_a_layer(work):
    """A layer on top of a delta begins at the state of that."""
    small(work)
    work.qcbm('delta', '--layer', '--id', '1' * 32, 'top', 'd')
    work.run('qemu-img', 'rebase', '-u', '-F', 'qcow2', '-b', 'base', 'd')
    work.create('next', 2 * MiB, '', 'd')
    work.io('next', 'write -q -P 9 64k 64k')
    work.qcbm('delta', '--layer', 'next', 'e')
    require_equal(info(work, 'e')['parent-id'], '1' * 32, 'parent')


def case_between_snapshots(work):
    """From one snapshot to another, when the disk has become smaller, and what it held is gone."""
    work.create('d', 3 * MiB)
    work.io('d', 'write -q -P 1 0 3M')
    before = raw_bytes(work, 'd')
    work.run('qemu-img', 'snapshot', '-c', 'a', 'd')
    work.io('d', 'write -q -P 2 2560k 64k', 'write -q -z 64k 64k')
    truth = raw_bytes(work, 'd')
    work.run('qemu-img', 'snapshot', '-c', 'b', 'd')
    work.io('d', 'write -q -P 3 0 64k')
    work.run('qemu-img', 'resize', '-q', '--shrink', 'd', '1M')
    work.qcbm('delta', '--since-snapshot', 'a', '--snapshot', 'b', '-O', 'raw+map', 'd', 'r')
    require(apply_map(work, 'r', before) == truth, 'not the disk')


def case_damage(work):
    """Whatever bit is turned in a delta, it is noticed; a stream that is cut, too."""
    small(work)
    work.qcbm('delta', '--layer', '-O', 'raw+map', 'top', 'r')
    with open(work.path('p'), 'wb') as f:
        f.write(work.qcbm('delta', '--layer', 'top', '-').raw_out)
    rng = random.Random(7)
    for name in ('r.map', 'r.json'):
        whole = open(work.path(name), 'rb').read()
        for at in rng.sample(range(len(whole)), 25):
            patch(work.path(name), at, bytes([whole[at] ^ 1 << rng.randrange(5)]))  # bit 5 makes letters large
            code = work.qcbm('delta', '--info', '--verify', '-q', 'r', rc=None).code
            require(code == 1 or whole[at:at + 1].isspace(), 'a bit of %s at %d was turned' % (name, at))
            patch(work.path(name), at, whole[at:at + 1])
        for length in rng.sample(range(len(whole)), 5):
            os.truncate(work.path(name), length)
            work.qcbm('delta', '--info', '--verify', '-q', 'r', rc=1)
            with open(work.path(name), 'wb') as f:
                f.write(whole)
    patch(work.path('r'), 70000, b'?')
    work.qcbm_refused('delta', '--info', '--verify', 'r', says=['damaged'])
    whole = open(work.path('p'), 'rb').read()
    for length in [len(whole) - 1, len(whole) - 64] + rng.sample(range(len(whole)), 10):
        with open(work.path('cut'), 'wb') as f:
            f.write(whole[:length])
        work.qcbm('delta', '--info', 'cut', rc=1)
    for at in rng.sample(range(len(whole)), 40):
        with open(work.path('cut'), 'wb') as f:
            f.write(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:])
        work.qcbm('delta', '--info', '--verify', '-q', 'cut', rc=(0, 1))  # padding and refcounts are nobody's


def case_refused(work):
    small(work)
    work.run('qemu-img', 'bitmap', '--add', 'top', 'c')
    for name in 'there', 'd.json', 'd.map', 'e.qcbm-new':
        open(work.path(name), 'w').close()
    work.qcbm_refused('delta', '--layer', 'top', 'there', says=['exists already'], unchanged=['there'])
    work.qcbm_refused('delta', '--layer', '--dry-run', 'top', 'there', says=['exists already'])
    for out in 'd', 'e':
        work.qcbm_refused('delta', '--layer', '-O', 'raw+map', 'top', out)
        require(not os.path.exists(work.path(out)), out)
    for options, says in ((['--bitmap', 'x'], "'x' not found"), (['--since', 'top'], 'itself'),
                          (['--since-snapshot', 's'], 'no snapshot'), (['--bitmap', 'c', '--refine'], 'reference that is named'),
                          (['--layer', '-O', 'raw+map', '-c', 'zlib'], 'of the form qcow2'),
                          (['--layer', '--cluster-size', '2k'], '4 KiB to 2 MiB'), (['--layer', '--id', '12'], '32 hex digits'),
                          (['--layer', '--id', '1' * 32, '--parent-id', '1' * 32], 'not its own parent'),
                          (['--layer', '--note', 'n' * 256], '255 bytes'), (['--layer', '--note', 'a\tb'], '255 bytes')):
        result = work.qcbm('delta', *options, 'top', 'new', rc=1)
        require(says in result.err, 'says: %s' % result.err)
    for options in [], ['--layer', '--bitmap', 'c'], ['--layer', '--chain'], ['--layer', '--snapshot', 's'], ['--layer', '-c', 'lz4']:
        work.qcbm('delta', *options, 'top', 'new', rc=1)
    require_nothing(work, 'new', 'refused')
    work.qcbm('delta', '--layer', '--dry-run', 'top', 'new')
    require_nothing(work, 'new', 'dry run')
    work.qcbm_refused('delta', '--info', 'there', says=['not a delta'])


CALLS = {'pwrite64': 'ENOSPC', 'pread64': 'EIO', 'fdatasync': 'EIO', 'ftruncate': 'EFBIG', 'link': 'EACCES', 'fsync': 'EIO'}


def traced(work, argv, *what):
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
    words = ['strace', '-f', '-o', work.path('trace'), *what, qtool.QCBM, *argv]
    work.note(' '.join(words))
    return subprocess.run(words, cwd=work.dir, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=qtool.COMMAND_TIMEOUT)


def case_faults(work, form, full):
    """Each call that reads or writes fails once, or is the last thing that happens."""
    small(work)
    argv = ['delta', '--layer', '--threads=1', '-O', form, 'top', 'new']
    require_equal(traced(work, argv, '-e', 'trace=' + ','.join(CALLS)).returncode, 0, 'without a fault')
    trace = open(work.path('trace')).read()
    outs = [name for name in os.listdir(work.dir) if name.startswith('new')]
    for call, error in CALLS.items():
        n = trace.count(call + '(')
        for at in sorted({1, n, *range(1, n + 1, 1 if full else max(n // 3, 1))} - {0}):
            for inject in 'error=' + error, 'signal=KILL':
                for name in outs + ['new' + left for left in LEFT]:
                    if os.path.exists(work.path(name)):
                        os.unlink(work.path(name))
                if n == 0:
                    continue
                done = traced(work, argv, '-e', 'trace=' + call, '-e', 'inject=%s:%s:when=%d' % (call, inject, at))
                what = '%s %d, %s' % (call, at, inject)
                if inject == 'signal=KILL':
                    require_equal(done.returncode, -signal.SIGKILL, what)
                    if os.path.exists(work.path('new')):
                        work.qcbm('delta', '--info', '--verify', '-q', 'new')
                elif done.returncode == 127:  # it was the dynamic loader's
                    require_nothing(work, 'new', what)
                elif done.returncode == 0:  # a sample that is left out; a file system without links
                    require(call in ('pread64', 'link'), what)
                    work.qcbm('delta', '--info', '--verify', '-q', 'new')
                else:
                    require_equal((done.returncode, done.stdout), (1, ''), what)
                    require_nothing(work, 'new', what)


KILL_CALLS = ('pwrite64', 'pread64', 'fdatasync', 'fsync', 'ftruncate', 'link', 'unlink', 'openat', 'lseek', 'write')
WAYS = [['-O', 'qcow2'], ['-O', 'qcow2', '-c', 'zlib'], ['-O', 'raw+map'], ['-O', 'rbd-diff'], ['-O', 'vnb']]


def scattered(work):
    """So many pieces that a delta of them takes many calls. Returns what the disk is with them."""
    rng = random.Random(17)
    work.create('base', 8 * MiB, 'cluster_size=4k')
    work.io('base', 'write -q -P 1 0 8M')
    work.create('top', 8 * MiB, 'cluster_size=4k', 'base')
    work.io('top', *['write -q %s %dk 4k' % (rng.choice(['-z', '-P 2', '-P 3', '-P 4']), 4 * at)
                     for at in sorted(rng.sample(range(2048), 150))])
    return raw_bytes(work, 'top')


def is_whole(work, truth, what):
    """There it is the disk; or it is not there, and what is left has another name."""
    if not os.path.exists(work.path('new')):
        return False
    work.qcbm('delta', '--info', '--verify', '-q', 'new')
    work.qcbm('apply', '-q', '-O', 'raw', '-o', 'put', 'base', 'new')
    with open(work.path('put'), 'rb') as f:
        require(f.read() == truth, what + ': it is there, and not the disk')
    return True


def strace_delta(work, argv, to_pipe, *what):
    with open(work.path('new'), 'wb') if to_pipe else open(os.devnull, 'wb') as out:
        words = ['strace', '-f', '-o', work.path('trace'), *what, qtool.QCBM, *argv]
        work.note(' '.join(words))
        env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
        cat = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=out, cwd=work.dir) if to_pipe else None
        done = subprocess.run(words, cwd=work.dir, env=env, stdin=subprocess.DEVNULL, stdout=cat.stdin if cat else out,
                              stderr=subprocess.PIPE, timeout=qtool.COMMAND_TIMEOUT)
        if cat:
            cat.stdin.close()
            cat.wait()
    return done.returncode


def case_kills(work, way, to_pipe, count):
    """Killed at any call: whole, or not there; into a pipe what came out is refused."""
    truth = scattered(work)
    names = ['new' + end for end in ('', '.json', '.map', *LEFT)] + ['put', 'put.qcbm-id']
    argv = ['delta', '--layer', '--threads=1', *way, 'top', '-' if to_pipe else 'new']
    require_equal(strace_delta(work, argv, to_pipe, '-e', 'trace=' + ','.join(KILL_CALLS)), 0, 'not killed')
    require(is_whole(work, truth, 'not killed'), 'it is not there')
    with open(work.path('trace')) as f:
        calls = [line.split('(')[0].split()[-1] for line in f if '(' in line and 'resumed' not in line]
    points = [(call, n) for call in KILL_CALLS for n in range(1, calls.count(call) + 1)]
    seen = set()
    for call, n in points[::max(1, len(points) // count)] + points[-2:]:
        for name in names:
            if os.path.exists(work.path(name)):
                os.unlink(work.path(name))
        what = '%s, killed at %s %d' % (' '.join(argv), call, n)
        code = strace_delta(work, argv, to_pipe, '-e', 'trace=' + call, '-e',
                            'inject=%s:signal=KILL:when=%d' % (call, n))
        require(code in (0, -9, 137), '%s: exit code %d' % (what, code))
        if to_pipe:
            whole = work.qcbm('delta', '--info', '--verify', '-q', 'new', rc=(0, 1)).code == 0
            whole = whole and is_whole(work, truth, what)
        else:
            whole = is_whole(work, truth, what)
        seen.add(whole)
        require(whole or code != 0, what + ': it says that it is done, and is not there')
        left = [name for name in os.listdir(work.dir) if name.startswith('new') and name not in names]
        require_equal(left, [], what + ': files that are left')
    require(False in seen, 'all of them whole')


def main():
    args = arguments('qcbm delta: full copy and deltas are the disk', seeds=3)
    need_tools('qemu-img', 'qemu-io', 'strace')
    seeds = 125 if args.full else args.seeds
    cases = [(case_zeros, 'zeros', {}), (case_identity, 'identity', {}), (case_parent_of_a_layer, 'parent', {}),
             (case_between_snapshots, 'between-snapshots', {}),
             (case_damage, 'damage', {}), (case_refused, 'refused', {})]
    cases += [(case_faults, 'faults-' + form, {'form': form, 'full': args.full}) for form in ('qcow2', 'raw+map')]
    cases += [(case_kills, 'kills: %s%s' % (' '.join(way[1:]), ' into a pipe' if to_pipe else ''),
               {'way': way, 'to_pipe': to_pipe, 'count': 180 if args.full else 4})
              for way, to_pipe in [(way, False) for way in WAYS] + [(WAYS[0], True)]]
    for kind in Bitmaps, Overlays, Snapshots, Chain:
        cases += [(case_history, '%s-%d' % (kind.__name__.lower(), seed), {'seed': args.seed + seed, 'kind': kind})
                  for seed in range(seeds)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
