#!/usr/bin/env python3
# refine.py - `qcbm synth --refine`: a bitmap of what differs by content, and of nothing else
#
# SPDX-License-Identifier: MIT
#
# A seed is a chain of two to four layers of all kinds with few different values in it, so that much is equal. What
# `qemu-img convert` of top and base says of each granule is what the bitmap must say: none missed, none needless.
# By hand: --seeds 500.

import json
import random
import struct

from chain import Layer, build, raw_view
from qtool import (KiB, MiB, Qcow2, arguments, differing_ranges, need_tools, patch, ranges_clip,
                   ranges_minus, ranges_outward, ranges_total, require, require_equal, run_cases, served_dirty)

OPTIONS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=16k,extended_l2=on',
           'cluster_size=64k,extended_l2=on', 'cluster_size=2M', 'cluster_size=4k,compat=0.10',
           'cluster_size=64k,compression_type=zstd', 'cluster_size=16k', 'cluster_size=64k,data_file=%s.data']


def bits(work, image, name):
    parsed = Qcow2(work.path(image))
    return parsed.bitmap_dirty([b for b in parsed.bitmaps() if b.name == name.encode()][0])


def synth(work, image, name, *options):
    return json.loads(work.qcbm('synth', '--output=json', *options, image, name).out)


def truth(work, old, new, g, size):
    """Granules that differ by content; old and new are raw files, taken as zero-extended."""
    return ranges_outward(differing_ranges(old, new, size), g, size)


# ---- chains -----------------------------------------------------------------------------------------------------

def random_writes(rng, size, options, fmt, below):
    out = []
    cluster = {'cluster_size=64k': 65536, 'cluster_size=4k': 4096, 'cluster_size=16k': 16384}.get(options.split(',')[0])
    for _ in range(rng.randint(0, 7)):
        unit = rng.choice([512, 4 * KiB, 4 * KiB, 64 * KiB])
        start = rng.randrange(-(-size // unit)) * unit
        length = min(size - start, unit * rng.randint(1, 8))
        kind = rng.choice(['write'] * 6 + ['zero', 'zero', 'discard', 'packed', 'packed'])
        if kind == 'packed' and fmt == 'qcow2' and cluster and 'data_file' not in options:
            start = start // cluster * cluster
            out.append('write -q -c -P %d %d %d' % (rng.randint(0, 2), start, min(cluster, size - start)))
        elif kind == 'zero':
            out.append('write -q -z %s%d %d' % (rng.choice(['', '-u ']) if fmt == 'qcow2' else '', start, length))
        elif kind == 'discard' and not (below and '0.10' in options):
            out.append('discard -q %d %d' % (start, length))
        else:
            out.append('write -q -P %d %d %d' % (rng.randint(0, 2), start, length))
    return out


def random_chain(rng):
    size, layers = rng.choice([MiB, 3 * MiB, 2 * MiB + 512]), []
    for index in range(rng.randint(2, 4)):
        fmt = 'raw' if index == 0 and rng.random() < 0.3 else 'qcow2'
        options = rng.choice(OPTIONS)
        name = 'l%d' % index
        options = options % name if '%s' in options else options
        length = size if rng.random() < 0.6 else rng.choice([size // 2, size // 4 * 3, size + size // 2]) // 512 * 512
        layers.append(Layer(name, length, random_writes(rng, length, options, fmt, index > 0), fmt, options))
    if '0.10' in layers[-1].options:
        layers[-1].options = 'cluster_size=4k'
    return layers


def case_seed(work, seed, witness):
    rng = random.Random(seed)
    layers = random_chain(rng)
    build(work, [Layer(l.name, l.size, [], l.fmt, l.options) for l in layers])
    for layer in layers:  # QEMU does not compress into a cluster that is there, which is fine
        if layer.writes:
            work.run('qemu-io', '-f', layer.fmt, *[part for c in layer.writes for part in ('-c', c)], layer.name, rc=None)
    top, base = layers[-1], layers[rng.randrange(len(layers) - 1)]
    since = [] if base is layers[-2] and rng.random() < 0.5 else ['--since', base.name]
    g = rng.choice([512, 4 * KiB, 64 * KiB, MiB])
    old, new = (raw_view(work, l.name, l.fmt, l.name + '.view') for l in (base, top))
    threads = ['--threads', rng.choice(['1', '3'])] if rng.random() < 0.5 else []
    all_of = ranges_clip(truth(work, old, new, g, top.size), top.size)
    dirty = {}
    for mode in 'zero', 'content':
        data = synth(work, top.name, mode, '--refine=' + mode, '-g', g, *since, *threads)
        dirty[mode] = bits(work, top.name, mode)
        told = data['refine']
        require_equal((told['mode'], told['unreadable-bytes']), (mode, 0), 'JSON')
        require_equal(ranges_total(dirty[mode]), data['dirty-bytes'], 'JSON: dirty bytes')
        dirty[mode + ' left'] = told['zero-bytes'] + told['equal-bytes']
    plain = synth(work, top.name, 'plain', '-g', g, *since)
    dirty['plain'] = bits(work, top.name, 'plain')
    require_equal(dirty['content'], all_of, 'by content')
    for smaller, larger in ('content', 'zero'), ('zero', 'plain'):
        require_equal(ranges_minus(dirty[smaller], dirty[larger], top.size), [], '%s in %s' % (smaller, larger))
    for mode in 'zero', 'content':
        require_equal(plain['dirty-bytes'] - ranges_total(dirty[mode]), dirty[mode + ' left'], 'what was left out: ' + mode)
    if witness:
        require_equal(served_dirty(work, top.name, ['content', 'zero']), {k: dirty[k] for k in ('content', 'zero')}, 'served')
        work.check(top.name)


# ---- references that are named ----------------------------------------------------------------------------------

def snapshots(work):
    """Now differs from snapshot a at 1M, from b at 2M; written with what was there at 0, and to and fro at 3M."""
    work.create('a.qcow2', 4 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 4M')
    work.run('qemu-img', 'snapshot', '-c', 'a', 'a.qcow2')
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'then.raw')
    work.run('qemu-img', 'convert', '-O', 'qcow2', 'a.qcow2', 'then.qcow2')
    work.io('a.qcow2', 'write -q -P 2 1M 64k', 'write -q -P 2 3M 64k')
    work.run('qemu-img', 'snapshot', '-c', 'b', 'a.qcow2')
    work.io('a.qcow2', 'write -q -P 1 0 64k', 'write -q -P 3 2M 64k', 'write -q -P 1 3M 64k')


K64 = [(n * MiB, n * MiB + 64 * KiB) for n in range(4)]


def case_references(work):
    snapshots(work)
    work.create('to.qcow2', 4 * MiB)
    into = ['--since-snapshot', 'a', '--into', 'to.qcow2']
    synth(work, 'a.qcow2', 'plain', *into)
    for n, words in enumerate(['snapshot:a', 'snapshot:id:1', 'then.raw', 'then.qcow2', 'file:then.qcow2']):
        synth(work, 'a.qcow2', 'r%d' % n, *into, '--refine-against', words)
        require_equal(bits(work, 'to.qcow2', 'r%d' % n), [K64[1], K64[2]], words)
    require_equal(bits(work, 'to.qcow2', 'plain'), K64, 'without')
    synth(work, 'a.qcow2', 'b', '--since-snapshot', 'a', '--snapshot', 'b', '--into', 'to.qcow2', '--refine-against', 'then.raw')
    require_equal(bits(work, 'to.qcow2', 'b'), [K64[1], K64[3]], 'up to a snapshot its content is compared')
    synth(work, 'a.qcow2', 'other', '--since-snapshot', 'a', '--into', 'then.qcow2', '--refine-against', 'then.qcow2')
    require_equal(bits(work, 'then.qcow2', 'other'), [K64[1], K64[2]], 'the image that gets the bitmap is the reference')
    synth(work, 'a.qcow2', 'short', '--since-snapshot', 'a')
    work.run('qemu-img', 'resize', '-q', '--shrink', '-f', 'raw', 'then.raw', '2M')
    synth(work, 'a.qcow2', 'cut', *into, '--refine-against', 'then.raw')
    require_equal(bits(work, 'to.qcow2', 'cut'), [K64[1], K64[2], K64[3]], 'behind the end of a reference are zeros')


def case_refused(work):
    snapshots(work)
    build(work, [Layer('base.qcow2', 4 * MiB, ['write 0 1M']), Layer('top.qcow2', 4 * MiB, ['write 0 64k'])])
    work.run('qemu-img', 'bitmap', '--add', 'top.qcow2', 'old')
    for options, says in ((['--since-snapshot', 'a', '--refine', 'a.qcow2', 'n'], 'reference that is named'),
                          (['--refine', '--merge', 'top.qcow2', 'old'], 'reference that is named'),
                          (['--refine=zero', '--merge', 'top.qcow2', 'old'], 'reference that is named'),
                          (['--refine-against', 'snapshot:x', 'a.qcow2', 'n'], 'no snapshot'),
                          (['--refine-against', 'missing', 'top.qcow2', 'n'], 'missing'),
                          (['--refine-against', 'top.qcow2', 'top.qcow2', 'n'], 'the image itself')):
        work.qcbm_refused('synth', *options, says=[says], unchanged=['a.qcow2', 'top.qcow2'])
    for options in (['--refine', '--dirty-tail', 'top.qcow2', 'n'], ['--refine=all', 'top.qcow2', 'n'],
                    ['--refine', '--like', 'base.qcow2', 'top.qcow2']):
        work.qcbm('synth', *options, rc=1)
    synth(work, 'top.qcow2', 'new', '--refine', '--merge')  # there is none to merge into
    synth(work, 'top.qcow2', 'old', '--refine-against', 'base.qcow2', '--merge')
    require_equal(bits(work, 'top.qcow2', 'old'), [], 'what was written is equal')
    work.qcbm('bitmap', '--set', '2M:64k', 'top.qcow2', 'old')
    synth(work, 'top.qcow2', 'old', '--refine-against', 'base.qcow2', '--merge')
    require_equal(bits(work, 'top.qcow2', 'old'), [K64[2]], 'what the bitmap had stays')
    work.create('luks.qcow2', MiB, luks=True)
    work.qcbm_refused('synth', '--refine', 'luks.qcow2', 'n', says=['LUKS', 'key'], unchanged=['luks.qcow2'])
    synth(work, 'luks.qcow2', 'n', '--refine=zero')


def case_raw_data_file(work):
    """Its allocation tells nothing; its content does."""
    work.create('d.qcow2', 4 * MiB, 'data_file=d.raw,data_file_raw=on')
    work.io('d.qcow2', 'write -q -P 5 1M 64k')
    data = synth(work, 'd.qcow2', 'n', '--refine')
    require_equal((bits(work, 'd.qcow2', 'n'), data['notes'][:-1]), ([K64[1]], []), 'content of the data file')


# ---- what cannot be read ----------------------------------------------------------------------------------------

def case_unreadable(work, where):
    """What cannot be compared stays dirty, and is counted."""
    build(work, [Layer('base.qcow2', 4 * MiB, ['write -q -c -P 1 0 64k', 'write -q -P 1 64k 1M']),
                 Layer('top.qcow2', 4 * MiB, ['write -q -P 1 0 128k', 'write -q -c -P 1 1M 64k'])])
    image = Qcow2(work.path('base.qcow2' if where != 'top' else 'top.qcow2'))
    place = image.l2_place(MiB if where == 'top' else 0)
    if where == 'table':
        l1 = image.words(image.l1_offset, 1)[0]
        patch(image.path, image.l1_offset, struct.pack('>Q', l1 + 512))
    elif where == 'entry':
        patch(image.path, place, struct.pack('>Q', 1 << 63 | 0x10200))
    else:  # a stream that is none
        patch(image.path, image.words(place, 1)[0] & ((1 << 54) - 1), b'\xff' * 16)
    data = synth(work, 'top.qcow2', 'n', '--refine')
    expected = {'top': [K64[1]], 'table': [(0, 128 * KiB), K64[1]], 'entry': [K64[0]], 'stream': [K64[0]]}[where]
    require_equal(bits(work, 'top.qcow2', 'n'), expected, 'bits')
    require_equal(data['refine']['unreadable-bytes'], ranges_total(expected), 'JSON: unreadable bytes')
    require(any('could not be compared' in n for n in data['notes']), 'notes: %r' % data['notes'])
    work.check('top.qcow2')


def case_trim(work):
    """A guest has trimmed what was never written, as is usual: 600 times as much as it changed (here 4 GiB)."""
    size = 4096 * MiB
    build(work, [Layer('base.qcow2', size, ['write -q -P 1 0 16M']),
                 Layer('top.qcow2', size, ['discard -q 16M 2000M', 'discard -q 2016M 2000M', 'discard -q 4016M 80M', 'write -q -P 2 1M 7M'])])
    plain, zero = (synth(work, 'top.qcow2', name, *options) for name, options in (('p', []), ('z', ['--refine=zero'])))
    content = synth(work, 'top.qcow2', 'c', '--refine')
    require(plain['dirty-bytes'] > 4000 * MiB, 'the shape')
    for data in zero, content:
        require(7 * MiB <= data['dirty-bytes'] <= 7 * MiB * 105 // 100, 'an increment of %d bytes' % data['dirty-bytes'])
    require_equal(served_dirty(work, 'top.qcow2', ['c'])['c'], [(MiB, 8 * MiB)], 'bits')


def main():
    args = arguments('bits by content', seeds=24, first=0)
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = [(case_references, 'references', {}), (case_refused, 'refused', {}), (case_trim, 'trim', {}),
             (case_raw_data_file, 'raw data file', {})]
    cases += [(case_unreadable, 'unreadable: ' + where, {'where': where}) for where in ('top', 'table', 'entry', 'stream')]
    cases += [(case_seed, 'seed %d' % n, {'seed': args.seed + n, 'witness': n % 6 == 0})
              for n in range(args.first, args.first + args.seeds)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
