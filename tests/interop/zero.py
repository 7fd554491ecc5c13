#!/usr/bin/env python3
# zero.py - qcbm extents --with=zero against QEMU's NBD server: base:allocation's zero bit beside the dirty bits
#
# SPDX-License-Identifier: MIT

import json
import random

from qtool import KiB, MiB, arguments, need_tools, require, require_equal, run_cases, served_rows


def runs(rows):
    """Rows of {offset, length, type} -> joined (start, end, type)."""
    out = []
    for row in rows:
        start, end, kind = row['offset'], row['offset'] + row['length'], row['type']
        if out and out[-1][1] == start and out[-1][2] == kind:
            out[-1] = (out[-1][0], end, kind)
        else:
            out.append((start, end, kind))
    return out


def overlay(dirty, zero):
    """Two lists of runs over the same range -> runs of dirty | zero << 1."""
    cuts = sorted({start for start, _, _ in dirty} | {start for start, _, _ in zero} | {dirty[-1][1]})
    at = lambda rows, x: next(kind for start, end, kind in rows if start <= x < end)
    return runs([{'offset': a, 'length': b - a, 'type': at(dirty, a) | at(zero, a)} for a, b in zip(cuts, cuts[1:])])


def compare(work, image, name):
    dirty, allocation = (runs([{'offset': start, 'length': end - start, 'type': kind} for start, end, kind in rows])
                         for rows in served_rows(work, image, ['qemu:dirty-bitmap:' + name, 'base:allocation'], [name]))
    zero = runs([{'offset': start, 'length': end - start, 'type': kind & 2} for start, end, kind in allocation])
    rows = json.loads(work.qcbm('extents', '--with=zero', '--output=json', image, name).out)
    words = {0: 'clean', 1: 'dirty', 2: 'clean,zero', 3: 'dirty,zero'}
    for row in rows:
        require_equal(row['description'], words[row['type']], 'description of type %d' % row['type'])
    got = runs(rows)
    require_equal(len(got), len(rows), 'extents of one state are not joined')
    require_equal(got, overlay(dirty, zero), 'extents with zero')
    plain = runs(json.loads(work.qcbm('extents', '--output=json', image, name).out))
    require_equal(plain, runs([{'offset': a, 'length': b - a, 'type': t} for a, b, t in dirty]), 'extents')
    require(len(got) > 1, 'the case shows one state only')


def scribble(work, image, rng, size, unit, count):
    commands = []
    for _ in range(count):
        start = rng.randrange(0, size // unit) * unit
        length = min(size - start, unit * rng.randrange(1, 9))
        commands.append(rng.choice(['write -P 7 %d %d', 'write -z %d %d', 'write -z -u %d %d', 'discard %d %d'])
                        % (start, length))
    work.io(image, *commands)


def chain_case(work, seed, cluster, extended, sizes, raw_base):
    """A chain of layers of the given sizes, from the base up, written at random."""
    rng = random.Random(seed)
    options = 'cluster_size=%d%s' % (cluster, ',extended_l2=on' if extended else '')
    unit = cluster // 32 if extended else cluster
    below, below_format = None, None
    for number, size in enumerate(sizes):
        name = 'layer%d' % number
        if number == 0 and raw_base:
            work.run('truncate', '-s', size, name)
            work.io(name, 'write -P 3 %d %d' % (size // 4, size // 8), fmt='raw')
            below, below_format = name, 'raw'
            continue
        work.create(name, size, options, below, below_format)
        scribble(work, name, rng, size, unit, 12)
        below, below_format = name, 'qcow2'
    work.qcbm('synth', below, 'b')
    compare(work, below, 'b')


def missing_backing_case(work):
    work.create('base', MiB)
    work.create('top', MiB, backing='base')
    work.io('top', 'write 0 64k')
    work.qcbm('synth', 'top', 'b')
    work.run('rm', 'base')
    work.qcbm_refused('extents', '--with=zero', 'top', 'b', says=['base'], file='top')
    work.qcbm('extents', 'top', 'b')


def main():
    args = arguments('qcbm extents --with=zero against base:allocation of qemu-nbd')
    need_tools('qemu-img', 'qemu-io', 'qemu-storage-daemon')
    cases = [(missing_backing_case, 'missing-backing', {})]
    for cluster, extended in ((512, False), (4 * KiB, False), (64 * KiB, False), (16 * KiB, True), (64 * KiB, True)):
        size = 64 * cluster if cluster > 4 * KiB else 512 * KiB
        for label, sizes in (('one', [size]), ('equal', [size] * 3), ('shorter-base', [size // 2, size]),
                             ('longer-base', [2 * size, size]), ('short-middle', [size, size // 2 + 512, size])):
            for raw in (False, True):
                if raw and len(sizes) == 1:
                    continue
                name = '%s-%d%s%s' % (label, cluster, '-extended' if extended else '', '-raw' if raw else '')
                cases.append((chain_case, name, {'seed': args.seed + len(cases), 'cluster': cluster,
                                                 'extended': extended, 'sizes': sizes, 'raw_base': raw}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
