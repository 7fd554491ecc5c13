#!/usr/bin/env python3
# snapshot_diff.py - `qcbm synth --since-snapshot`: two states of one image, by content
#
# SPDX-License-Identifier: MIT
#
# A seed is a history made by the qemu tools: writes of all kinds, resizes, snapshots made, applied and deleted. Then each pair
# of states is compared. Every byte that differs by `qemu-img convert` must be under a bit; and no bit may be set where an
# independent reading of the tables finds entries alike. By hand: --seeds 1000.

import json
import os
import random
import struct

from qtool import (KiB, MiB, Failure, Qcow2, arguments, copy_sparse, default_granularity, differing_ranges, digest,
                   need_tools, patch, peek, ranges_clip, ranges_minus, ranges_norm, ranges_or, ranges_outward,
                   ranges_total, require, require_equal, run_cases, served_dirty, set_feature_bits)

OFFSET, COPIED = 0x00fffffffffffe00, 1 << 63
SHAPES = [  # options, size, backing file
    ('cluster_size=64k', 4 * MiB, None), ('cluster_size=64k', 4 * MiB, 4 * MiB), ('cluster_size=4k', 2 * MiB, None),
    ('cluster_size=4k', 3 * MiB, MiB), ('cluster_size=512', 256 * KiB, None), ('cluster_size=512', 200 * KiB, 128 * KiB),
    ('cluster_size=16k,extended_l2=on', 4 * MiB, None), ('cluster_size=64k,extended_l2=on', 4 * MiB, 4 * MiB),
    ('cluster_size=4k,compat=0.10', 2 * MiB, None), ('cluster_size=4k,refcount_bits=4', 2 * MiB, MiB),
    ('cluster_size=2M', 16 * MiB, None), ('cluster_size=4k,compression_type=zstd', 2 * MiB, MiB),
    ('cluster_size=4k,refcount_bits=64', 2 * MiB, None), ('cluster_size=512,refcount_bits=8', 256 * KiB, 256 * KiB)]


# ---- states, read without qcbm ----------------------------------------------------------------------------------

class State:
    """The active one (name None) or a snapshot, from the tables as they lie on the disk."""

    def __init__(self, image, entry=None):
        self.image, self.id, self.name, self.size = image, None, None, image.size
        self.l1, self.l1_size = image.l1_offset, image.l1_size
        if entry is not None:
            self.l1, self.l1_size, id_size, name_size = struct.unpack_from('>QIHH', entry, 0)
            extra = struct.unpack_from('>I', entry, 36)[0]
            if extra >= 16:
                self.size = struct.unpack_from('>Q', entry, 48)[0]
            self.id = entry[40 + extra:40 + extra + id_size].decode()
            self.name = entry[40 + extra + id_size:].decode()

    def entries(self):
        """guest cluster -> (entry without COPIED, subcluster word), those of zeros left out."""
        image, out = self.image, {}
        width = 2 if image.extended_l2 else 1
        per_table = image.cluster_size // 8 // width
        wanted = -(-self.size // (per_table * image.cluster_size))
        for i, raw in enumerate(image.words(self.l1, min(self.l1_size, wanted))):
            if raw & OFFSET:
                words = image.words(raw & OFFSET, per_table * width)
                for k in range(per_table):
                    entry = words[k * width] & ~COPIED, words[k * width + 1] if width == 2 else 0
                    if any(entry):
                        out[i * per_table + k] = entry
        return out


def states_of(path):
    image = Qcow2(path)
    return [State(image, entry) for entry in image.snapshot_table()] + [State(image)]


def raw_of(work, image, state):
    """The disk of a state as a raw file. Applying the snapshot, in a copy, gives it its own size."""
    name = 'state-%s.raw' % state.id
    if not os.path.exists(work.path(name)):
        copy_sparse(work.path(image), work.path('then.qcow2'))
        if state.id is not None:
            work.run('qemu-img', 'snapshot', '-a', state.id, 'then.qcow2')
        work.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', 'then.qcow2', name)
    return work.path(name)


def may_differ(a, b):
    """Where entries are not alike, and where one of the states has no disk."""
    one, two, cs = a.entries(), b.entries(), a.image.cluster_size
    common, longer = min(a.size, b.size), max(a.size, b.size)
    clusters = [c for c in set(one) | set(two) if one.get(c) != two.get(c)]
    return ranges_or(ranges_clip([(c * cs, (c + 1) * cs) for c in clusters], common), [(common, longer)])


# ---- histories --------------------------------------------------------------------------------------------------

def random_command(rng, size, compressed):
    unit = rng.choice([512, 512, 4 * KiB, 64 * KiB])
    start = rng.randrange(size // unit) * unit
    length = min(size - start, unit * rng.randint(1, 6))
    kind = rng.choice(['write'] * 5 + ['zero', 'zero-unmap', 'discard', 'compressed'])
    if kind == 'compressed' and compressed:
        cs = compressed
        return 'write -q -c -P %d %d %d' % (rng.randint(1, 255), start // cs * cs, min(cs, size - start // cs * cs))
    if kind == 'discard':
        return 'discard -q %d %d' % (start, length)
    if kind.startswith('zero'):
        return 'write -q -z %s%d %d' % ('-u ' if kind == 'zero-unmap' else '', start, length)
    return 'write -q -P %d %d %d' % (rng.randint(1, 255), start, length)


def history(work, rng, shape):
    options, size, backing = shape
    if backing:
        work.create('base.qcow2', backing)
        work.io('base.qcow2', 'write -q -P 77 0 %d' % (backing // 2), 'write -q -P 78 %d 4k' % (backing - 4 * KiB))
    work.create('a.qcow2', size, options, *(['base.qcow2'] if backing else []))
    cs, made = Qcow2(work.path('a.qcow2')).cluster_size, 0
    packed = cs if cs > 512 else 0  # with 512 bytes QEMU 7.2 ends up with an image that it calls corrupt
    compat = 'compat=0.10' in options
    while made < 3:
        commands = [random_command(rng, size, packed) for _ in range(rng.randint(0, 6))]
        if commands:
            work.io('a.qcow2', *commands, may_fail=True)
        step = rng.choice(['snapshot'] * 5 + ['apply', 'delete', 'resize', 'resize'])
        have = [s.name for s in states_of(work.path('a.qcow2')) if s.id]
        if step == 'snapshot':
            work.run('qemu-img', 'snapshot', '-c', 's%d' % made, 'a.qcow2')
            made += 1
        elif step == 'apply' and have:
            work.run('qemu-img', 'snapshot', '-a', rng.choice(have), 'a.qcow2')
            size = Qcow2(work.path('a.qcow2')).size
        elif step == 'delete' and len(have) > 1:
            work.run('qemu-img', 'snapshot', '-d', rng.choice(have), 'a.qcow2')
        elif step == 'resize' and not compat:
            size = rng.choice([size // 2, size * 3 // 4, size + size // 3, size * 2]) // 512 * 512
            size = max(size, 64 * KiB)
            work.run('qemu-img', 'resize', '-q', '--shrink', 'a.qcow2', str(size))
    for _ in range(rng.randint(0, 2)):
        work.io('a.qcow2', random_command(rng, size, packed), may_fail=True)


# ---- comparisons ------------------------------------------------------------------------------------------------

def compare(work, a, b, g, target):
    """One pair through the tool, into an image as long as is needed; its bits as they lie on the disk."""
    name = '%s-%s' % (a.id, b.id)
    to = [] if b.id is None else ['--snapshot', 'id:' + b.id]
    data = json.loads(work.qcbm('synth', '--since-snapshot', 'id:' + a.id, *to, '-g', g, '--output=json', '--into', target,
                                'a.qcow2', name).out)
    require_equal((data['since-snapshot']['id'], data.get('snapshot', {}).get('id')), (a.id, b.id), 'JSON: snapshots')
    image = Qcow2(work.path(target))
    got = image.bitmap_dirty([m for m in image.bitmaps() if m.name == name.encode()][0])
    require_equal(ranges_total(got), data['dirty-bytes'], 'JSON: dirty bytes')
    size = max(a.size, b.size)
    differ = differing_ranges(raw_of(work, 'a.qcow2', a), raw_of(work, 'a.qcow2', b), size)
    missed = ranges_minus(differ, got, size)
    require(missed == [], '%s: differing bytes without a bit: %r' % (name, missed))
    needless = ranges_minus(got, ranges_outward(may_differ(a, b), g, image.size), image.size)
    require(needless == [], '%s: bits where entries are alike: %r' % (name, needless))
    return name, got


def case_seed(work, seed, witness):
    rng = random.Random(seed)
    shape = SHAPES[seed % len(SHAPES)]
    history(work, rng, shape)
    states = states_of(work.path('a.qcow2'))
    largest = max(s.size for s in states)
    g = rng.choice([512, 4 * KiB, default_granularity(states[0].image.cluster_size), 256 * KiB])
    work.create('to.qcow2', largest)
    pairs = [(a, b) for a in states for b in states if a.id is not None and a is not b]
    bits = dict(compare(work, a, b, g, 'to.qcow2') for a, b in pairs)
    if witness:
        require_equal(served_dirty(work, 'to.qcow2', sorted(bits)), bits, 'what qemu-nbd serves')
        work.check('to.qcow2')
    if shape[0].find('0.10') < 0 and all(s.size == states[-1].size for s in states):
        work.qcbm('synth', '--since-snapshot', 'id:' + states[0].id, '-g', g, 'a.qcow2', 'own')
        require_equal(served_dirty(work, 'a.qcow2', ['own'])['own'], bits['%s-None' % states[0].id], 'in the image itself')
        work.check('a.qcow2')


def three_states(work, options='', size=4 * MiB):
    """Snapshots 1 'a' and 2 'b', and now: 64 KiB at 1M differ between a and b, at 2M between b and now."""
    work.made_once((options, size), ['a.qcow2'], lambda: make_three_states(work, options, size))


def make_three_states(work, options, size):
    work.create('a.qcow2', size, options)
    work.io('a.qcow2', 'write -q -P 1 0 3M')
    work.run('qemu-img', 'snapshot', '-c', 'a', 'a.qcow2')
    work.io('a.qcow2', 'write -q -P 2 1M 64k')
    work.run('qemu-img', 'snapshot', '-c', 'b', 'a.qcow2')
    work.io('a.qcow2', 'write -q -P 3 2M 64k')


def dirty(work, *options):
    return json.loads(work.qcbm('synth', '--dry-run', '--output=json', *options, 'a.qcow2', 'n').out)['dirty-bytes'] // KiB


def case_names(work):
    three_states(work)
    for words in 'a', '1', 'id:1', 'name:a':
        require_equal(dirty(work, '--since-snapshot', words), 128, words)
    require_equal(dirty(work, '--since-snapshot', 'a', '--snapshot', 'b'), 64, 'a to b')
    require_equal(dirty(work, '--since-snapshot', 'b', '--snapshot', 'a'), 64, 'b to a')
    require_equal(dirty(work, '--since-snapshot', 'b', '--snapshot', 'b'), 0, 'b to b')
    for words in 'c', '3', 'id:a', 'name:1', '', 'id:':
        work.qcbm_refused('synth', '--since-snapshot=' + words, 'a.qcow2', 'n', says=["1 'a', 2 'b'"], file='a.qcow2',
                          unchanged=['a.qcow2'])
    work.run('qemu-img', 'snapshot', '-c', 'a', 'a.qcow2')
    work.run('qemu-img', 'snapshot', '-c', '2', 'a.qcow2')
    for words, says in ('a', "1 'a', 3 'a'"), ('name:a', "1 'a', 3 'a'"), ('2', "2 'b', 4 '2'"):
        work.qcbm_refused('synth', '--since-snapshot', words, 'a.qcow2', 'n', says=['several', says], unchanged=['a.qcow2'])
    require_equal((dirty(work, '--since-snapshot', 'id:1'), dirty(work, '--since-snapshot', 'name:2')), (128, 0), 'with prefix')


def case_states(work):
    """Up to a snapshot, the bitmap must not record, or must be somebody else's."""
    three_states(work)
    pair = ['--since-snapshot', 'a', '--snapshot', 'b']
    work.qcbm_refused('synth', *pair, 'a.qcow2', 'n', says=['disabled'], unchanged=['a.qcow2'])
    work.qcbm('synth', *pair, '--disabled', 'a.qcow2', 'frozen')
    require_equal(work.info_bitmaps('a.qcow2'), {'frozen': (64 * KiB, [])}, 'bitmaps')
    work.qcbm('synth', '--since-snapshot', 'b', '--merge', 'a.qcow2', 'frozen')
    work.qcbm('synth', '--since-snapshot', 'b', 'a.qcow2', 'live')
    work.qcbm_refused('synth', *pair, '--merge', 'a.qcow2', 'live', says=['disabled'], unchanged=['a.qcow2'])
    require_equal(served_dirty(work, 'a.qcow2', ['frozen', 'live']),
                  {'frozen': [(MiB, MiB + 64 * KiB), (2 * MiB, 2 * MiB + 64 * KiB)],
                   'live': [(2 * MiB, 2 * MiB + 64 * KiB)]}, 'bits')
    work.check('a.qcow2')
    for options in (['--snapshot', 'b'], ['--since-snapshot', 'a', '--since', 'x'], ['--since-snapshot', 'a', '--dirty-tail']):
        work.qcbm('synth', *options, 'a.qcow2', 'n', rc=1)
    work.qcbm('synth', '--like', 'x', '--since-snapshot', 'a', 'a.qcow2', rc=1)
    work.create('data.qcow2', MiB, 'data_file=d.raw')
    work.qcbm_refused('synth', '--since-snapshot', 'a', 'data.qcow2', 'n', says=['data file'], unchanged=['data.qcow2'])


def case_sizes(work):
    """Grown and cut disks: what only one of the states has is dirty, as far as there are bits for it."""
    three_states(work)
    work.run('qemu-img', 'resize', '-q', 'a.qcow2', '6M')
    require_equal(dirty(work, '--since-snapshot', 'a'), 128 + 2048, 'grown')
    require_equal(dirty(work, '--since-snapshot', 'a', '--snapshot', 'b'), 64, 'both shorter')
    work.run('qemu-img', 'snapshot', '-c', 'long', 'a.qcow2')
    work.run('qemu-img', 'resize', '-q', '--shrink', 'a.qcow2', '2M')
    require_equal(dirty(work, '--since-snapshot', 'a'), 64, 'cut: what is gone has no bits')
    work.qcbm_refused('synth', '--since-snapshot', 'a', '--snapshot', 'long', '--disabled', 'a.qcow2', 'n', says=['past the end'],
                      unchanged=['a.qcow2'])
    work.create('to.qcow2', 6 * MiB)
    work.qcbm('synth', '--since-snapshot', 'a', '--snapshot', 'long', '--into', 'to.qcow2', 'a.qcow2', 'n')
    work.qcbm('synth', '--since-snapshot', 'long', '--into', 'to.qcow2', 'a.qcow2', 'cut')
    require_equal(served_dirty(work, 'to.qcow2', ['n', 'cut']),
                  {'n': [(MiB, MiB + 64 * KiB), (2 * MiB, 2 * MiB + 64 * KiB), (4 * MiB, 6 * MiB)],
                   'cut': [(2 * MiB, 6 * MiB)]}, 'bits')


# ---- damage -----------------------------------------------------------------------------------------------------

def set_refcount(path, offset, value):
    image = Qcow2(path)
    block = image.words(image.reftable_offset, 1)[0]
    patch(path, block + offset // image.cluster_size * 2, struct.pack('>H', value))


def l2_entry(image, state, guest):
    table = image.words(state.l1 + 8 * (guest // (image.cluster_size * image.cluster_size // 8)), 1)[0] & OFFSET
    return table + 8 * (guest // image.cluster_size % (image.cluster_size // 8))


def damage_snapshot_l1(work, value):
    path = work.path('a.qcow2')
    patch(path, states_of(path)[0].l1, struct.pack('>Q', value))


def damage(work, kind):
    path = work.path('a.qcow2')
    image, states = Qcow2(path), states_of(path)
    shared, own = l2_entry(image, states[2], 0), l2_entry(image, states[2], 2 * MiB)
    entry = image.words(shared, 1)[0]
    if kind == 'refcount of a shared cluster':
        set_refcount(path, entry & OFFSET, 1)
    elif kind == 'COPIED on a shared cluster':
        patch(path, shared, struct.pack('>Q', entry | COPIED))
    elif kind == 'COPIED on a shared table':
        work.run('qemu-img', 'snapshot', '-c', 'c', 'a.qcow2')  # shares its table with the active state
        raw = image.words(image.l1_offset, 1)[0]
        patch(path, Qcow2(path).l1_offset, struct.pack('>Q', Qcow2(path).words(image.l1_offset, 1)[0] | COPIED))
    elif kind == 'refcount of a shared table':
        work.run('qemu-img', 'snapshot', '-c', 'c', 'a.qcow2')
        set_refcount(path, Qcow2(path).words(image.l1_offset, 1)[0] & OFFSET, 1)
    elif kind == 'reserved bit in an entry':
        patch(path, own, struct.pack('>Q', image.words(own, 1)[0] | 4))
    elif kind == 'cluster past the end':
        patch(path, own, struct.pack('>Q', 1 << 50))
    elif kind == 'table past the end':
        damage_snapshot_l1(work, 1 << 50)
    elif kind == 'table not aligned':
        damage_snapshot_l1(work, 0x10200)
    elif kind == 'L1 past the end':
        patch(path, image.snapshots_offset, struct.pack('>Q', 1 << 40))
    elif kind == 'L1 not aligned':
        patch(path, image.snapshots_offset, struct.pack('>Q', 512))
    elif kind == 'L1 too large':
        patch(path, image.snapshots_offset + 8, struct.pack('>I', 0x7fffffff))
    elif kind == 'no such size':
        patch(path, image.snapshots_offset + 48, struct.pack('>Q', 1 << 63))
    elif kind == 'table of snapshots past the end':
        patch(path, 64, struct.pack('>Q', 1 << 40))
    elif kind == 'entry of zeros':
        patch(path, image.snapshots_offset, bytes(40))
    else:
        set_feature_bits(path, 'incompatible', {'dirty': 1, 'corrupt': 2}[kind])


KINDS = ['refcount of a shared cluster', 'COPIED on a shared cluster', 'COPIED on a shared table', 'refcount of a shared table',
         'reserved bit in an entry', 'cluster past the end', 'table past the end', 'table not aligned', 'L1 past the end',
         'L1 not aligned', 'L1 too large', 'no such size', 'table of snapshots past the end', 'entry of zeros', 'dirty',
         'corrupt']


def case_damage(work, kind):
    """Refused, and nothing is written: neither here nor into another image."""
    three_states(work)
    damage(work, kind)
    since = 'c' if kind.endswith('shared table') else 'a'
    work.create('to.qcow2', 4 * MiB)
    work.qcbm_refused('synth', '--since-snapshot', since, 'a.qcow2', 'n', unchanged=['a.qcow2'], file='a.qcow2')
    work.qcbm_refused('synth', '--since-snapshot', since, '--into', 'to.qcow2', 'a.qcow2', 'n', unchanged=['to.qcow2'])


def main():
    args = arguments(__doc__ or 'states of one image, compared by content', seeds=28, first=0)
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = [(case_names, 'names', {}), (case_states, 'states', {}), (case_sizes, 'sizes', {})]
    cases += [(case_damage, 'damage: ' + kind, {'kind': kind}) for kind in KINDS]
    cases += [(case_seed, 'seed %d' % n, {'seed': args.seed + n, 'witness': n % 7 == 0})
              for n in range(args.first, args.first + args.seeds)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
