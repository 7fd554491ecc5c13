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
        other = check_info(work, 'r%d' % step, hex_id(seed, step), previous, truth)
        if '--cluster-size' not in options and '512' not in way and history.size % 4096 == 0:
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


def main():
    args = arguments('qcbm delta: full copy and deltas are the disk', seeds=3)
    need_tools('qemu-img', 'qemu-io')
    seeds = 125 if args.full else args.seeds
    cases = [(case_zeros, 'zeros', {})]
    for kind in Bitmaps, Overlays, Snapshots, Chain:
        cases += [(case_history, '%s-%d' % (kind.__name__.lower(), seed), {'seed': args.seed + seed, 'kind': kind})
                  for seed in range(seeds)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
