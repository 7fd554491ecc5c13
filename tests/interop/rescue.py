#!/usr/bin/env python3
# rescue.py - images that lost their first cluster, their L1 table or L2 tables: what "qcbm rescue" makes of them, against the
# disk as it was
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. Everything comes from the seed. RESCUE_FIGURES = a file that gets a line a case;
# RESCUE_TABLE = such a file: print the table of docs/repair.md from it, and run nothing.

import collections
import json
import os
import random
import sys

import qtool
from qtool import KiB, MiB, Qcow2, patch, require, require_equal

FIGURES = os.environ.get('RESCUE_FIGURES')

# name: cluster size, size of the disk, further options, what it has
SHAPES = {
    'plain': (4 * KiB, 16 * MiB, '', ''),
    'backing': (4 * KiB, 16 * MiB, '', 'backing'),
    'snapshots': (4 * KiB, 16 * MiB, '', 'snapshots'),
    'bitmaps': (4 * KiB, 16 * MiB, '', 'bitmaps'),
    'all': (4 * KiB, 16 * MiB, '', 'backing snapshots bitmaps'),
    'one-table': (64 * KiB, 64 * MiB, '', ''),
    'small': (512, 256 * KiB, '', 'backing'),
    'v2': (4 * KiB, 16 * MiB, 'compat=0.10', 'backing snapshots'),
    'narrow': (4 * KiB, 16 * MiB, 'refcount_bits=8', 'snapshots bitmaps'),
    'subclusters': (16 * KiB, 64 * MiB, 'extended_l2=on', 'backing'),
    'compressed': (4 * KiB, 16 * MiB, '', 'compressed'),
}


def make(work, rng, shape):
    """a.qcow2, and before.raw, the disk. The guest writes in runs, from front to back in each session."""
    cluster, size, options, has = SHAPES[shape]
    if 'backing' in has:
        with open(work.path('base.raw'), 'wb') as f:
            f.write(rng.randbytes(size // 8 * 7) + bytes(size // 8))
    work.create('a.qcow2', size, ','.join(filter(None, ['cluster_size=%d' % cluster, options])),
                *(('base.raw', 'raw') if 'backing' in has else ()))
    if 'bitmaps' in has:
        work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b')
    for session in range(3):
        writes = []
        for at in sorted(512 * sector for sector in rng.sample(range(size // 512), 24)):
            n = min(rng.choice((512, 1024, cluster, 2 * cluster, 5 * cluster + 512, 16 * cluster)), size - at)
            writes.append('write -q -P %d %d %d' % (rng.randrange(1, 256), at, n))
        if 'compressed' in has and session == 0:  # QEMU compresses a cluster once, and whole
            writes = ['write -c -q -P %d %d %d' % (rng.randrange(1, 256), at * cluster, cluster)
                      for at in sorted(rng.sample(range(size // cluster), 24))]
        writes.append('write -q -z %d %d' % (rng.randrange(size // cluster) * cluster, cluster))
        work.io('a.qcow2', *(writes if options != 'compat=0.10' else writes[:-1]))
        if 'snapshots' in has and session < 2:
            if 'bitmaps' not in has or session == 0:
                work.run('qemu-img', 'snapshot', '-c', 's%d' % session, 'a.qcow2')
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'before.raw')
    work.run('cp', '--sparse=always', 'a.qcow2', 'sound.qcow2')
    return Qcow2(work.path('a.qcow2'))


def rubbish(rng, length, zeros):
    return bytes(length) if zeros else rng.randbytes(length)


def slots_of(image):
    """slot -> place of its table."""
    words = image.words(image.l1_offset, image.l1_size)
    return {i: w & 0x00fffffffffffe00 for i, w in enumerate(words) if w}


def span_of(image):
    return image.cluster_size // (16 if image.extended_l2 else 8) * image.cluster_size


def lose_l1(image, rng, zeros):
    patch(image.path, image.l1_offset, rubbish(rng, 8 * image.l1_size, zeros))
    return list(slots_of_all(image))


def slots_of_all(image):
    return range(-(-image.size // span_of(image)))


def lose_l2(image, rng, zeros, n):
    chosen = rng.sample(sorted(slots_of(image)), min(n, len(slots_of(image))))
    for slot in chosen:
        patch(image.path, slots_of(image)[slot], rubbish(rng, image.cluster_size, zeros))
    return chosen


def lose_header(image, rng, zeros):
    patch(image.path, 0, rubbish(rng, image.cluster_size, zeros))
    return list(slots_of_all(image))


DAMAGES = {
    'nothing': lambda image, rng, zeros: [],
    'l1': lose_l1,
    'l2-one': lambda image, rng, zeros: lose_l2(image, rng, zeros, 1),
    'l2-three': lambda image, rng, zeros: lose_l2(image, rng, zeros, 3),
    'header': lose_header,
}


def judge(work, report, image, lost):
    """(at stake, brought back): bytes that the layer had below lost tables, and those of them that are right now."""
    wrong = qtool.differing_ranges(work.path('before.raw'), work.path('after.raw'), image.size)
    warned = qtool.ranges_norm([(r['start'], r['start'] + r['length']) for r in report['ranges']
                                if r['certainty'] != 'proven'])
    silent = qtool.ranges_minus(wrong, warned, image.size)
    require(not silent, 'wrong without a warning: %s\n%s' % (silent[:8], json.dumps(report)[:2000]))
    span = span_of(image)
    had = qtool.ranges_minus(work.map_allocated('sound.qcow2'),
                             qtool.ranges_invert(qtool.ranges_norm([(s * span, (s + 1) * span) for s in lost]),
                                                 image.size), image.size)
    return qtool.ranges_total(had), qtool.ranges_total(qtool.ranges_minus(had, wrong, image.size))


def case(work, shape, damage, zeros, seed):
    rng = random.Random('%s %s %s %d' % (shape, damage, zeros, seed))
    image = make(work, rng, shape)
    lost = DAMAGES[damage](image, rng, zeros)
    before = qtool.digest(image.path)
    options = ['--probe-backing'] if image.backing else []
    if damage == 'header':
        options += ['--size', str(image.size)]
    done = work.qcbm('rescue', '--output=json', *options, '-o', 'new.qcow2', 'a.qcow2', rc=(0, 3))
    require_equal(qtool.digest(image.path), before, 'the damaged image afterwards')
    report = json.loads(done.out)
    at = 0
    for r in report['ranges']:
        require_equal(r['start'], at, 'begin of a range')
        at += r['length']
    require_equal(at, image.size, 'end of the ranges')
    require_equal(done.code, 0 if report['proven'] == image.size and damage != 'header' else 3, 'exit code')
    work.check('new.qcow2')
    if damage == 'header' and image.backing:
        work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'new.qcow2')
    work.run('qemu-img', 'convert', '-O', 'raw', 'new.qcow2', 'after.raw')
    stake, back = judge(work, report, image, lost)
    if damage == 'nothing':
        require_equal(report['proven'], image.size, 'proven of a sound image')
        bits = {b.name: image.bitmap_dirty(b) for b in image.bitmaps()}
        new = Qcow2(work.path('new.qcow2'))
        require_equal({b.name: new.bitmap_dirty(b) for b in new.bitmaps()}, bits, 'bitmaps of a sound image')
    if FIGURES:
        with open(FIGURES, 'a') as f:
            f.write('%s %s %d %d %d %d\n' % (damage, shape, stake, back, report['proven'], image.size))


def print_table(path):
    """Of each shape and damage the share of what was lost that is right again."""
    sums = collections.defaultdict(lambda: [0, 0, 0])
    for line in open(path):
        damage, shape, stake, back, _, _ = line.split()
        row = sums[shape, damage]
        row[0] += 1
        row[1] += int(stake)
        row[2] += int(back)
    damages = [d for d in DAMAGES if d != 'nothing']
    print('| Image | %s |\n|---|%s' % (' | '.join(damages), '---|' * len(damages)))
    for shape in SHAPES:
        cells = [sums[shape, damage] for damage in damages]
        print('| %s | %s |' % (shape, ' | '.join('%d %%' % (100 * back // stake if stake else 100) if n else '-'
                                                  for n, stake, back in cells)))


def main():
    args = qtool.arguments(__doc__, seeds=1)
    if os.environ.get('RESCUE_TABLE'):
        return print_table(os.environ['RESCUE_TABLE'])
    cases = []
    for seed in range(args.seed, args.seed + args.seeds):
        for damage in DAMAGES:
            for shape in SHAPES:
                for zeros in ((True,) if damage == 'nothing' else (True, False)):
                    cases.append((case, '%s-%s-%s-%d' % (damage, shape, 'zeros' if zeros else 'random', seed),
                                  {'shape': shape, 'damage': damage, 'zeros': zeros, 'seed': seed}))
    if not args.full:
        random.Random(args.seed).shuffle(cases)
        cases = cases[:16]
    qtool.run_cases(args, cases)


if __name__ == '__main__':
    qtool.need_tools('qemu-img', 'qemu-io')
    sys.exit(main())
