#!/usr/bin/env python3
# like.py - `qcbm synth --like`: the bitmaps that libvirt would have put into an overlay
#
# SPDX-License-Identifier: MIT
#
# Bits are compared with what qemu-nbd serves. What the whole is for is judged as libvirt does: the layers that have a
# checkpoint's bitmap follow each other from the top, each records and is consistent, and the union of their bits holds
# every byte that differs from the disk as it was when the checkpoint was made.

import json
import os
import random
import struct
import subprocess

from chain import Layer, build, expected_ranges, raw_view
from qtool import (KiB, MiB, arguments, differing_ranges, digest, need_tools, qcbm_path, ranges_minus, ranges_or,
                   ranges_outward, require, require_equal, run_cases, served_dirty)


def bitmap(work, image, *names, options=()):
    for name in names:
        work.run('qemu-img', 'bitmap', '--add', *options, image, name)


def kill_writer(work, image):
    subprocess.run(['bash', '-c', 'ulimit -c 0; exec qemu-io -c "write 0 64k" -c abort "$0"', image], cwd=work.dir,
                   capture_output=True, check=False)


def like(work, base, overlay, *options):
    return json.loads(work.qcbm('synth', '--like', base, '--output=json', *options, overlay).out)


def outcomes(data):
    return {b['bitmap']: (b['outcome'], b.get('reason')) for b in data['bitmaps']}


def usable(work, image, name):
    return work.info_bitmaps(image).get(name, (0, []))[1] == ['auto']


def libvirt_changes(work, images, name):
    """Dirty ranges since checkpoint NAME, images from the top down; None where libvirt refuses the chain."""
    have = [name in work.info_bitmaps(image) for image in images]
    depth = have.index(False) if False in have else len(have)
    if depth == 0 or any(have[depth:]) or not all(usable(work, image, name) for image in images[:depth]):
        return None
    return ranges_or(*[served_below(work, image, name) for image in images[:depth]])


def served_below(work, image, name):
    """Without its backing file, so that QEMU cannot take that of another layer."""
    return served_dirty(work, image, [name], alone=True)[name]


# ---- cases ------------------------------------------------------------------------------------------------------

def case_as_libvirt_does(work):
    """One overlay by hand over a base with checkpoints of all states."""
    base = Layer('base.qcow2', 4 * MiB, ['write -P 1 0 1M'])
    build(work, [base])
    raw_view(work, 'base.qcow2', 'qcow2', 'at-C.raw')
    bitmap(work, 'base.qcow2', 'C')
    bitmap(work, 'base.qcow2', 'fine', options=['-g', '4k'])
    bitmap(work, 'base.qcow2', 'coarse', options=['-g', '1M'])
    bitmap(work, 'base.qcow2', 'frozen', options=['--disable'])
    bitmap(work, 'base.qcow2', 'there')
    work.io('base.qcow2', 'write -P 2 2M 64k')
    top = Layer('top.qcow2', 4 * MiB, ['write -P 3 512k 100k', 'write -z 3M 64k', 'discard 0 64k'])
    work.create('top.qcow2', 4 * MiB, '', 'base.qcow2')
    bitmap(work, 'top.qcow2', 'there', 'own')
    for command in top.writes:
        work.io('top.qcow2', command)
    before = digest(work.path('base.qcow2'))
    there = served_dirty(work, 'top.qcow2', ['there'])['there']
    dry = like(work, 'base.qcow2', 'top.qcow2', '--dry-run')
    require_equal(sorted(work.info_bitmaps('top.qcow2')), ['own', 'there'], 'after the dry run')
    data = like(work, 'base.qcow2', 'top.qcow2')
    require_equal(dry['bitmaps'], data['bitmaps'], 'JSON of the dry run')
    require_equal(digest(work.path('base.qcow2')), before, 'the base')
    require_equal(outcomes(data), {'C': ('made', None), 'fine': ('made', None), 'coarse': ('made', None),
                                   'frozen': ('skipped', 'is disabled'), 'there': ('kept', 'is there already')},
                  'outcomes')
    work.check('top.qcow2')
    require_equal(work.info_bitmaps('top.qcow2'),
                  {'own': (64 * KiB, ['auto']), 'there': (64 * KiB, ['auto']), 'C': (64 * KiB, ['auto']),
                   'fine': (4 * KiB, ['auto']), 'coarse': (MiB, ['auto'])}, 'qemu-img info')
    expected = work.map_allocated('top.qcow2')
    for b in data['bitmaps']:
        if b['outcome'] == 'made':
            g = work.info_bitmaps('base.qcow2')[b['bitmap']][0]
            served = served_dirty(work, 'top.qcow2', [b['bitmap']])[b['bitmap']]
            require_equal(served, ranges_outward(expected, g, top.size), b['bitmap'])
            require_equal(b['dirty-bytes'], sum(end - start for start, end in served), 'JSON: dirty bytes')
    require_equal(served_dirty(work, 'top.qcow2', ['there'])['there'], there, 'a bitmap that was there')
    changes = libvirt_changes(work, ['top.qcow2', 'base.qcow2'], 'C')
    require(changes is not None, 'libvirt would refuse the chain')
    differing = differing_ranges(work.path('at-C.raw'), raw_view(work, 'top.qcow2', 'qcow2', 'now.raw'), top.size)
    require(differing != [] and ranges_minus(differing, changes, top.size) == [],
            'bytes changed since C that libvirt would not copy: %r' % ranges_minus(differing, changes, top.size))
    # once more: nothing is left to do, and nothing is written
    before = digest(work.path('top.qcow2'))
    again = like(work, 'base.qcow2', 'top.qcow2')
    require(not any(b['outcome'] == 'made' for b in again['bitmaps']), 'made again')
    require_equal(digest(work.path('top.qcow2')), before, 'the overlay, with nothing to do')


def case_one_granularity_one_scan(work):
    """Many bitmaps: each is right, though only the first of a granularity is scanned for."""
    build(work, [Layer('base.qcow2', 4 * MiB, ['write 0 1M']), Layer('top.qcow2', 4 * MiB, ['write 1M 100k', 'write 3M 8k'])])
    for n in range(12):
        bitmap(work, 'base.qcow2', 'c%d' % n, options=['-g', ('4k', '64k', '512')[n % 3]])
    data = like(work, 'base.qcow2', 'top.qcow2')
    require_equal(len(data['layers']), 1, 'layers')
    expected = work.map_allocated('top.qcow2')
    for name, (g, flags) in work.info_bitmaps('base.qcow2').items():
        require_equal(work.info_bitmaps('top.qcow2').get(name), (g, flags), name)
        require_equal(served_dirty(work, 'top.qcow2', [name])[name], ranges_outward(expected, g, 4 * MiB), name)
    work.check('top.qcow2')


def case_deeper(work, short):
    """BASE is two layers down: all of what is above it counts, and the layer between is named until it has its own."""
    layers = [Layer('base.qcow2', 4 * MiB, ['write -P 1 0 4M']),
              Layer('mid.qcow2', 2 * MiB if short else 4 * MiB, ['write -P 2 512k 64k']),
              Layer('top.qcow2', 4 * MiB, ['write -P 3 1M 64k'])]
    build(work, layers)
    bitmap(work, 'base.qcow2', 'C', 'D')
    raw_view(work, 'base.qcow2', 'qcow2', 'at-C.raw')
    data = like(work, 'base.qcow2', 'top.qcow2')
    require_equal(outcomes(data), {'C': ('made', None), 'D': ('made', None)}, 'outcomes')
    served = served_dirty(work, 'top.qcow2', ['C'])['C']
    require_equal(served, ranges_outward(expected_ranges(work, layers, 0), 64 * KiB, 4 * MiB), 'everything above BASE')
    note = [n for n in data['notes'] if 'lies between' in n]
    require(len(note) == 1 and 'lacks 2' in note[0], 'notes: %r' % data['notes'])
    require(libvirt_changes(work, ['top.qcow2', 'mid.qcow2', 'base.qcow2'], 'C') is None, 'the gap is none for libvirt')
    advice = note[0].split(': qcbm ')[1].replace("'", '').split()
    work.qcbm(*advice)
    changes = libvirt_changes(work, ['top.qcow2', 'mid.qcow2', 'base.qcow2'], 'C')
    differing = differing_ranges(work.path('at-C.raw'), raw_view(work, 'top.qcow2', 'qcow2', 'now.raw'), 4 * MiB)
    require(changes is not None and ranges_minus(differing, changes, 4 * MiB) == [], 'after the advice: %r' % changes)
    again = like(work, 'base.qcow2', 'top.qcow2')
    require(not any('lies between' in n for n in again['notes']), 'notes: %r' % again['notes'])
    if short:
        require(any('sizes' in n for n in like(work, 'base.qcow2', 'mid.qcow2')['notes']), 'sizes differ')


def case_in_use(work):
    """After a crash of QEMU: what is inconsistent in BASE is not continued; in the overlay it is told, and replaced."""
    build(work, [Layer('base.qcow2', 4 * MiB, ['write 0 1M'])])
    bitmap(work, 'base.qcow2', 'C', 'D')
    work.create('top.qcow2', 4 * MiB, '', 'base.qcow2')
    bitmap(work, 'top.qcow2', 'C')
    kill_writer(work, 'top.qcow2')
    data = like(work, 'base.qcow2', 'top.qcow2')
    require_equal(outcomes(data), {'C': ('kept', 'is inconsistent'), 'D': ('made', None)}, 'outcomes')
    require(any("'C'" in n and '--replace' in n for n in data['notes']), 'notes: %r' % data['notes'])
    data = like(work, 'base.qcow2', 'top.qcow2', '--replace')
    require_equal(outcomes(data), {'C': ('replaced', None), 'D': ('replaced', None)}, 'outcomes with --replace')
    expected = ranges_outward(work.map_allocated('top.qcow2'), 64 * KiB, 4 * MiB)
    for name in 'C', 'D':
        require(usable(work, 'top.qcow2', name), name)
        require_equal(served_dirty(work, 'top.qcow2', [name])[name], expected, name)
    work.check('top.qcow2')
    kill_writer(work, 'base.qcow2')
    work.create('second.qcow2', 4 * MiB, '', 'base.qcow2')
    before = digest(work.path('second.qcow2'))
    data = like(work, 'base.qcow2', 'second.qcow2')
    require_equal(outcomes(data), {'C': ('skipped', 'is inconsistent'), 'D': ('skipped', 'is inconsistent')}, 'outcomes')
    require_equal(digest(work.path('second.qcow2')), before, 'the overlay')


def case_refused(work):
    layers = [Layer('raw.img', 4 * MiB, fmt='raw'), Layer('base.qcow2', 4 * MiB), Layer('top.qcow2', 4 * MiB)]
    build(work, layers)
    bitmap(work, 'base.qcow2', 'C')
    work.create('stranger.qcow2', 4 * MiB)
    for base, says in (('stranger.qcow2', 'not in the backing chain'), ('top.qcow2', 'the overlay itself'),
                       ('raw.img', 'raw file'), ('missing.qcow2', 'not in the backing chain')):
        work.qcbm_refused('synth', '--like', base, 'top.qcow2', says=[says], unchanged=['top.qcow2', 'base.qcow2'])
    for options in (['--since', 'base.qcow2'], ['--into', 'base.qcow2'], ['--merge'], ['--disabled'], ['-g', '4k']):
        work.qcbm('synth', '--like', 'base.qcow2', *options, 'top.qcow2', rc=1)
    work.qcbm('synth', '--like', 'base.qcow2', 'top.qcow2', 'C', rc=1)
    os.rename(work.path('raw.img'), work.path('away'))
    work.qcbm_refused('synth', '--like', 'base.qcow2', 'top.qcow2', says=['raw.img'], unchanged=['top.qcow2'])
    require_equal(work.info_bitmaps('top.qcow2'), {}, 'bitmaps of the overlay')


def case_undo(work):
    """One commit: one undo file takes all of them back."""
    build(work, [Layer('base.qcow2', 4 * MiB), Layer('top.qcow2', 4 * MiB, ['write 0 64k'])])
    bitmap(work, 'base.qcow2', *['c%d' % n for n in range(5)])
    before = digest(work.path('top.qcow2'))
    text = work.qcbm('synth', '--like', 'base.qcow2', '--undo', 'u', 'top.qcow2').out
    require_equal(sorted(line.split(':')[0] for line in text.splitlines()[:5]), ['c%d' % n for n in range(5)], 'lines')
    require_equal(len(work.info_bitmaps('top.qcow2')), 5, 'bitmaps')
    work.qcbm('undo', 'top.qcow2', 'u')
    require_equal(digest(work.path('top.qcow2')), before, 'undone')


def many_bitmaps(path, n):
    """A base of 1 MiB with n bitmaps, each with its own table in a hole of the file."""
    cs = 64 * KiB
    first = 20 + -(-n * 32 // cs)
    directory = b''.join(struct.pack('>QIIBBHI', (first + i) * cs, 1, 2, 1, 16, 8, 0) + b'%08d' % i for i in range(n))
    header = bytearray(cs)
    struct.pack_into('>4sIQIIQIIQQIIQQQQII', header, 0, b'QFI\xfb', 3, 0, 0, 16, MiB, 0, 1, 3 * cs, cs, 1, 0, 0, 0, 0, 1, 4,
                     104)
    struct.pack_into('>IIIIQQ', header, 104, 0x23852875, 24, n, 0, len(directory), 16 * cs)
    with open(path, 'wb') as f:
        f.write(header)
        f.write(struct.pack('>Q', 2 * cs).ljust(cs, b'\0'))
        f.write((b'\0\1' * 16).ljust(cs, b'\0'))
        f.seek(16 * cs)
        f.write(directory)
        f.truncate((first + n) * cs)


def case_many(work):
    """Thousands of bitmaps take time in proportion; so many that memory would not be bounded are refused."""
    work.create('top.qcow2', MiB)
    work.io('top.qcow2', 'write 0 64k')
    for n in 20000, 65535:
        many_bitmaps(work.path('many.qcow2'), n)
        work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', 'many.qcow2', '-F', 'qcow2', 'top.qcow2')
        done = subprocess.run(['bash', '-c', 'ulimit -t 30; exec "$0" synth --like many.qcow2 --dry-run top.qcow2',
                               qcbm_path()], cwd=work.dir, capture_output=True, text=True, check=False)
        if n == 20000:
            require(done.returncode == 0 and 'to be made: 20000, left out: 0' in done.stdout, done.stderr)
        else:
            require(done.returncode == 1 and 'one by one' in done.stderr and not done.stdout, done.stderr)


def case_random(work, seed):
    """Chains in which each overlay is mended from the one below, from the bottom up, are what libvirt wants."""
    rng = random.Random(seed)
    size = rng.choice([MiB, 3 * MiB + 512, 5 * MiB])
    build(work, [Layer('l0.qcow2', size, ['write -P 1 0 512k'])])
    raw_view(work, 'l0.qcow2', 'qcow2', 'at-C.raw')
    bitmap(work, 'l0.qcow2', 'C', options=['-g', rng.choice(['512', '4k', '64k', '256k'])])
    images = ['l0.qcow2']
    for n in range(1, rng.randint(2, 5)):
        below, name = images[-1], 'l%d.qcow2' % n
        work.io(below, 'write -P %d %d 4k' % (rng.randint(2, 200), rng.randrange(0, size - 4096) // 512 * 512))
        work.create(name, size, 'cluster_size=%s' % rng.choice(['512', '4k', '64k', '256k']), below)
        for _ in range(rng.randint(0, 4)):
            start = rng.randrange(0, size - 512) // 512 * 512
            work.io(name, '%s %d %d' % (rng.choice(['write -P %d' % rng.randint(2, 200), 'write -z', 'discard']), start,
                                        min(rng.choice([512, 4096, 70000 // 512 * 512]), size - start)))
        if rng.random() < 0.7:
            like(work, below, name)
        images.append(name)
    for below, name in zip(images, images[1:]):  # those that were left out, from the bottom up
        like(work, below, name)
    changes = libvirt_changes(work, images[::-1], 'C')
    require(changes is not None, 'libvirt would refuse the chain')
    differing = differing_ranges(work.path('at-C.raw'), raw_view(work, images[-1], 'qcow2', 'now.raw'), size)
    require_equal(ranges_minus(differing, changes, size), [], 'bytes changed since C that libvirt would not copy')


CASES = [
    (case_as_libvirt_does, 'as-libvirt-does', {}),
    (case_one_granularity_one_scan, 'one-granularity-one-scan', {}),
    (case_deeper, 'deeper', {'short': False}),
    (case_deeper, 'deeper-short-layer', {'short': True}),
    (case_in_use, 'in-use', {}),
    (case_many, 'many', {}),
    (case_refused, 'refused', {}),
    (case_undo, 'undo', {}),
]


def main():
    args = arguments('qcbm synth --like, against the real qemu tools')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = CASES + [(case_random, 'random-%d' % k, {'seed': args.seed * 1009 + k})
                     for k in range(100 if args.full else 10)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
