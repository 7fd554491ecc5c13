#!/usr/bin/env python3
# hostile.py - damaged images: every command ends in good order, says what is wrong, and changes nothing when it fails
#
# SPDX-License-Identifier: MIT
#
# Images are made by qemu-img and then cut short or edited in one place. qemu refuses a whole image for one bad bitmap;
# qcbm must show what is good.

import json
import os
import random
import struct

from qtool import (EXT_BITMAPS, KiB, MiB, Qcow2, arguments, copy_sparse, default_granularity, digest,
                   need_tools, patch, peek, ranges_clip, ranges_minus, ranges_or, ranges_outward, ranges_total, require,
                   require_equal, require_one_line, rewrite_first_cluster, run_cases, served_depth,
                   served_dirty)

IMAGE = 'image.qcow2'
WORK = 'work.qcow2'

# ---- fixtures -----------------------------------------------------------------------------------------------------


def add_bitmaps(work, *names):
    for k, name in enumerate(names):
        work.run('qemu-img', 'bitmap', '--add', '-g', (512, 4096, 65536)[k % 3], '-f', 'qcow2', IMAGE, name)


def simple(options='cluster_size=512', size=64 * KiB, commands=('write -P 3 1k 3k', 'write -P 4 40k 700'), backing=None,
           bitmaps=(), after=()):
    def make(work):
        if backing:
            work.create(backing, size)
            work.io(backing, 'write -P 1 0 %d' % (size // 2))
        work.create(IMAGE, size, options, backing)
        add_bitmaps(work, *bitmaps)
        work.io(IMAGE, *commands)
        if after:
            work.io(IMAGE, *after)
    return make


def with_snapshots(work):
    simple(bitmaps=('one', 'two'))(work)
    work.run('qemu-img', 'snapshot', '-c', 'first', IMAGE)
    work.io(IMAGE, 'write -P 7 2k 1k', 'write -P 7 60k 4k')
    work.run('qemu-img', 'snapshot', '-c', 'second', IMAGE)
    work.io(IMAGE, 'write -P 8 2k 512')


ZEROS = ('write -P 3 1k 3k', 'write -z 8k 2k', 'write -P 3 16k 4k', 'write -z 17k 1k', 'discard 18k 1k', 'discard 30k 4k')
FIXTURES = {
    'plain-512': simple(),
    'bitmaps-512': simple(bitmaps=('one', 'two', 'three')),
    'bitmaps-backing-512': simple(backing='base', bitmaps=('one', 'two')),
    'snapshots-512': with_snapshots,
    'zeros-backing-512': simple(backing='base', commands=ZEROS),
    'compressed-512': simple(commands=('write -c -P 3 0 512', 'write -c -P 4 512 512', 'write -c -P 5 8k 512'),
                             after=('write -P 6 20k 512',), bitmaps=('one',)),
    'compressed-zstd-4k': simple('cluster_size=4k,compression_type=zstd', 256 * KiB,
                                 ('write -c -P 3 0 4k', 'write -c -P 4 64k 4k'), backing='base'),
    'subclusters-16k': simple('cluster_size=16k,extended_l2=on', 256 * KiB,
                              ('write -P 3 0 1k', 'write -z 20k 1k', 'write -P 4 100k 20k', 'discard 64k 16k'), 'base', ('one',)),
    'refcount-1-512': simple('cluster_size=512,refcount_bits=1', bitmaps=('one', 'two')),
    'refcount-64-512': simple('cluster_size=512,refcount_bits=64', bitmaps=('one', 'two')),
    'version-2-512': simple('cluster_size=512,compat=0.10', backing='base'),
    'data-file-4k': simple('cluster_size=4k,data_file=d.raw', 256 * KiB, ('write -P 3 0 4k', 'write -z 64k 4k'),
                           bitmaps=('one',)),
    'backing-64k': simple('cluster_size=64k', MiB, ('write -P 3 0 4k', 'write -z 256k 64k'), backing='base',
                          bitmaps=('one', 'two')),
}

COMMANDS = [
    (['info', WORK], False), (['info', '--output=json', WORK], False), (['bitmap', '--list', WORK], False),
    (['bitmap', '--list', '--output=json', WORK], False), (['extents', WORK, 'one'], False),
    (['extents', '--with=zero', WORK, 'one'], False), (['synth', '--dry-run', WORK, 'new'], False),
    (['synth', WORK, 'new'], True), (['bitmap', '--add', WORK, 'new'], True), (['bitmap', '--disable', WORK, 'one'], True),
    (['bitmap', '--clear', '--merge', 'two', WORK, 'one'], True), (['bitmap', '--remove', WORK, 'one'], True),
]


def corruptions(work, image):
    """What qemu-img check counts, or None if it cannot even open the image."""
    done = work.run('qemu-img', 'check', '--output=json', '-f', 'qcow2', image, rc=None)
    if done.code in (0, 2, 3):
        return json.loads(done.out).get('corruptions', 0)
    return None


def run_all(work, source, before_corruptions=None, count=len(COMMANDS)):
    """So many of the commands, each on a copy of source: it ends in good order, and what fails changes nothing."""
    for command, writes in work.some(COMMANDS, count):
        copy_sparse(work.path(source), work.path(WORK))
        was = digest(work.path(WORK))
        result = work.qcbm(*command, rc=(0, 1))
        line = 'qcbm ' + ' '.join(command)
        if result.code == 1:
            require_one_line(result, line, WORK)
            streams = command[0] == 'extents' or '--dry-run' in command
            require(streams or result.out == '', '%s\n  failed, stdout: %s' % (line, result.out))
        if result.code == 1 or not writes:
            require(digest(work.path(WORK)) == was, '%s\n  exit code %d, but the image changed' % (line, result.code))
            continue
        # written: not worse than before, by qemu's count
        now = corruptions(work, WORK)
        before = before_corruptions() if before_corruptions else 0
        if before is not None:
            require(now is not None and now <= before, '%s\n  succeeded; corruptions by qemu-img check: %r, before: %r'
                    % (line, now, before))


# ---- cut short -----------------------------------------------------------------------------------------------------

def cut_lengths(image, rng, count):
    """Lengths at and near the borders of clusters and of what lies in the file, and some others."""
    size, cluster = image.file_size, image.cluster_size
    borders = set(range(0, size + 1, cluster))
    borders |= {4, 72, 104, 112, 511, 512, image.extensions_end, image.l1_offset + 8, image.reftable_offset + 8}
    for b in image.bitmaps():
        borders |= {b.entry_offset, b.entry_offset + 24, b.table_offset, b.table_offset + 8}
        borders |= {entry + 1 for entry in b.table if entry > 1}
    if image.nb_snapshots:
        borders |= {image.snapshots_offset + 1, image.snapshots_offset + 50}
    near = sorted({b + d for b in borders for d in (-1, 0, 1) if 0 <= b + d < size})
    chosen = near if len(near) <= count else rng.sample(near, count)
    return sorted(set(chosen) | {rng.randrange(size) for _ in range(count // 4)} | {0, 1, 103, 104})


def case_cut(work, fixture, seed, count):
    FIXTURES[fixture](work)
    rng = random.Random(seed)
    for length in cut_lengths(Qcow2(work.path(IMAGE)), rng, count):
        copy_sparse(work.path(IMAGE), work.path('cut.qcow2'))
        os.truncate(work.path('cut.qcow2'), length)
        work.note('cp %s cut.qcow2; truncate -s %d cut.qcow2; cp cut.qcow2 %s' % (IMAGE, length, WORK))
        known = []

        def before():
            if not known:
                known.append(corruptions(work, 'cut.qcow2'))
            return known[0]
        run_all(work, 'cut.qcow2', before, 4)
        del work.log[:-30]


def case_whole(work, fixture):
    """The fixtures themselves, so that the cases above start from something that works."""
    FIXTURES[fixture](work)
    run_all(work, IMAGE)
    image = Qcow2(work.path(IMAGE))
    if image.version == 3:
        work.qcbm('synth', IMAGE, 'new')
        expected = ranges_outward(work.map_allocated(IMAGE), default_granularity(image.cluster_size), image.size)
        require_equal(served_dirty(work, IMAGE, ['new'])['new'], expected, 'dirty')
        work.check(IMAGE)


# ---- one bad directory entry -------------------------------------------------------------------------------------------

GOOD = ['first', 'second', 'third', 'fourth']


def four_bitmaps(work, cluster=4 * KiB):
    """Four bitmaps with different bits. Returns name -> extents in JSON."""
    def make():
        work.create('base', 2 * MiB)
        work.create(IMAGE, 2 * MiB, 'cluster_size=%d' % cluster, 'base')
        for k, name in enumerate(GOOD):
            work.run('qemu-img', 'bitmap', '--add', '-g', 512 << k, '-f', 'qcow2', IMAGE, name)
            work.io(IMAGE, 'write -P 5 %d 1k' % (k * 300 * KiB))
        work.run('qemu-img', 'bitmap', '--disable', '-f', 'qcow2', IMAGE, 'fourth')
        work.check(IMAGE)
    work.made_once(('four bitmaps', cluster), ('base', IMAGE), make)
    return served_dirty(work, IMAGE, GOOD)


def set_entry(field, value):
    """A defect in the fixed part of the directory entry."""
    place = {'table_offset': (0, '>Q'), 'table_size': (8, '>I'), 'flags': (12, '>I'), 'type': (16, '>B'),
             'granularity': (17, '>B')}[field]

    def break_it(path, image, entry):
        patch(path, entry.entry_offset + place[0],
              struct.pack(place[1], value(image, entry) if callable(value) else value))
    return break_it


def set_table(value):
    """A defect in the first table entry."""
    def break_it(path, image, entry):
        patch(path, entry.table_offset, struct.pack('>Q', value(image, entry)))
    return break_it


def set_name(value):
    """The name's bytes, of the same length."""
    def break_it(path, image, entry):
        name = value(entry.name)
        require(len(name) == len(entry.name), 'the test is wrong: length of the name')
        patch(path, entry.entry_offset + 24, name)
    return break_it


# what a bad entry may still be good for: 'refused' = its bits cannot be had; 'dirty' = what is unreadable counts as dirty;
# 'lost' = one or the other
DEFECTS = {
    'table-offset-unaligned': (set_entry('table_offset', lambda i, e: e.table_offset + 512), 'refused'),
    'table-offset-zero': (set_entry('table_offset', 0), 'refused'),
    'table-past-the-end': (set_entry('table_offset', lambda i, e: 1 << 40), 'lost'),
    'table-offset-huge': (set_entry('table_offset', lambda i, e: (1 << 64) - i.cluster_size), 'refused'),
    'table-offset-sign-bit': (set_entry('table_offset', lambda i, e: 1 << 63), 'refused'),
    'table-size-zero': (set_entry('table_size', 0), 'refused'),
    'table-size-one-more': (set_entry('table_size', lambda i, e: e.table_size + 1), 'refused'),
    'table-size-too-large': (set_entry('table_size', 0x8000001), 'refused'),
    'table-size-largest': (set_entry('table_size', 0xffffffff), 'refused'),
    'flags-unknown': (set_entry('flags', lambda i, e: e.flags | 8), 'refused'),
    'flags-all': (set_entry('flags', 0xffffffff), 'refused'),
    'type-0': (set_entry('type', 0), 'refused'),
    'type-2': (set_entry('type', 2), 'refused'),
    'granularity-8': (set_entry('granularity', 8), 'refused'),
    'granularity-32': (set_entry('granularity', 32), 'refused'),
    'granularity-63': (set_entry('granularity', 63), 'refused'),
    'granularity-64': (set_entry('granularity', 64), 'refused'),
    'granularity-255': (set_entry('granularity', 255), 'refused'),
    'name-nul': (set_name(lambda n: n[:2] + b'\0' + n[3:]), None),
    'table-entry-reserved-low': (set_table(lambda i, e: e.table[0] | 2), 'refused'),
    'table-entry-reserved-high': (set_table(lambda i, e: e.table[0] | 1 << 60), 'refused'),
    'table-entry-one-with-offset': (set_table(lambda i, e: e.table[0] | 1), 'refused'),
    'table-entry-unaligned': (set_table(lambda i, e: e.table[0] + 512), 'refused'),
    'table-entry-past-the-end': (set_table(lambda i, e: 1 << 40), 'dirty'),
    'in-use': (set_entry('flags', lambda i, e: e.flags | 1), 'refused'),
}


def case_bad_entry(work, defect, position):
    """The others are listed and readable, can be changed or are refused with nothing changed; the bad one can be removed."""
    dirty = four_bitmaps(work)
    bad = GOOD[position]
    good = [name for name in GOOD if name != bad]
    path = work.path(IMAGE)
    image = Qcow2(path)
    entry = image.bitmap(bad)
    rows = {name: work.qcbm('extents', '--output=json', IMAGE, name).out for name in good}
    break_it, outcome = DEFECTS[defect]
    break_it(path, image, entry)
    work.note('# by hand: %s in the entry of %s at offset %d' % (defect, bad, entry.entry_offset))
    was = digest(path)
    others_are_shown(work, good, dirty, rows, bad)

    if outcome == 'refused':
        work.qcbm_refused('extents', IMAGE, bad, file=IMAGE, unchanged=[IMAGE])
        if not defect.startswith('table-entry'):
            work.qcbm_refused('bitmap', '--clear', IMAGE, bad, file=IMAGE, unchanged=[IMAGE])
            work.qcbm_refused('bitmap', '--enable', IMAGE, bad, file=IMAGE, unchanged=[IMAGE])
        else:
            cleared_or_refused(work, bad, dirty)
        work.qcbm_refused('bitmap', '--merge', bad, IMAGE, good[0], file=IMAGE, unchanged=[IMAGE])
    elif outcome is not None:
        result = work.qcbm('extents', '--output=json', IMAGE, bad, rc=0 if outcome == 'dirty' else (0, 1))
        data = json.loads(result.out) if result.code == 0 else [{'offset': 0, 'length': 2 * MiB, 'type': 1}]
        require_equal([(r['offset'], r['length'], r['type']) for r in data], [(0, 2 * MiB, 1)], 'unreadable bits are dirty')
    require(digest(path) == was, 'reading wrote')

    # a change to a good one: done with the bad one's bytes as they were, or refused
    copy_sparse(path, work.path('kept.qcow2'))
    bad_bytes = peek(path, entry.entry_offset, entry.entry_size)
    for command in (['bitmap', '--disable', IMAGE, good[0]], ['bitmap', '--add', IMAGE, 'new'], ['synth', IMAGE, 'new2'],
                    ['bitmap', '--remove', IMAGE, good[1]]):
        copy_sparse(work.path('kept.qcow2'), path)
        result = work.qcbm(*command, rc=(0, 1))
        if result.code == 1:
            require_one_line(result, ' '.join(command), IMAGE)
            require(digest(path) == was, '%r failed, but the image changed' % command)
            continue
        after = Qcow2(path)
        directory = after.read(after.directory_offset, after.directory_size)
        if bad_bytes not in directory:
            mended(work, command, result, bad, dirty)
            continue
        still = [name for name in good if name != command[-1]]
        others_are_shown(work, work.some(still, 1), dirty, rows, bad)
    copy_sparse(work.path('kept.qcow2'), path)

    # the way out: remove the bad one, and qemu opens the image again
    if outcome is None:
        return
    work.qcbm('bitmap', '--remove', IMAGE, bad)
    work.run('qemu-img', 'check', '-q', '-f', 'qcow2', IMAGE, rc=(0, 3))  # what it had may leak
    require_equal(served_dirty(work, IMAGE, good), {name: dirty[name] for name in good}, 'the others by qemu-nbd')
    work.io(IMAGE, 'write -P 6 1M 512')
    work.run('qemu-img', 'check', '-q', '-f', 'qcow2', IMAGE, rc=(0, 3))


def mended(work, command, result, bad, dirty):
    """--remove may mend the entry that would have kept it from the commit: told, and no dirty byte of any bitmap is missing."""
    require('--remove' in command and 'repair: [' in result.err,
            '%r changed the entry that was not named: %s' % (command, result.err))
    work.run('qemu-img', 'check', '-q', '-f', 'qcow2', IMAGE, rc=(0, 3))
    good = [name for name in GOOD if name not in (bad, command[-1])]
    require_equal(served_dirty(work, IMAGE, good), {name: dirty[name] for name in good}, 'the others after %r' % command)
    rest = [b for b in Qcow2(work.path(IMAGE)).bitmaps() if b.name.decode() not in good]
    require_equal(len(rest), 1, 'bitmaps besides the good ones after %r' % command)  # its name may be another
    image = Qcow2(work.path(IMAGE))
    require_equal(ranges_minus(dirty[bad], image.bitmap_dirty(rest[0]), 2 * MiB), [], 'bytes that the mended one misses')


def cleared_or_refused(work, bad, dirty):
    """--clear needs no bit of a table that cannot be read: a sound clean bitmap, or nothing."""
    copy_sparse(work.path(IMAGE), work.path(WORK))
    was = digest(work.path(WORK))
    if work.qcbm('bitmap', '--clear', WORK, bad, rc=(0, 1)).code == 0:
        work.run('qemu-img', 'check', '-q', '-f', 'qcow2', WORK, rc=(0, 3))
        require_equal(served_dirty(work, WORK, GOOD), {**dirty, bad: []}, 'bitmaps after --clear')
    else:
        require(digest(work.path(WORK)) == was, '--clear failed, but the image changed')


def others_are_shown(work, good, dirty, rows, bad):
    listed = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    text = work.qcbm('bitmap', '--list', IMAGE).out
    shown = {b['name']: b for b in listed['bitmaps']}
    for name in good:
        require(name in shown and name in text, 'bitmap --list does not show %s: %s' % (name, text))
        require_equal((shown[name]['consistent'], shown[name]['dirty-bytes'], shown[name]['findings']),
                      (True, ranges_total(dirty[name]), []), 'bitmap --list of ' + name)
        require_equal(work.qcbm('extents', '--output=json', IMAGE, name).out, rows[name], 'extents of ' + name)
    work.qcbm('info', IMAGE)
    findings = listed['findings'] + [f for b in listed['bitmaps'] for f in b['findings']]
    one = shown.get(bad)
    require(findings or (one and not one['consistent']), 'bitmap --list finds nothing wrong: %s' % text)


OVERLAPS = {
    'table-is-l1': set_entry('table_offset', lambda i, e: i.l1_offset),
    'table-is-refcount-table': set_entry('table_offset', lambda i, e: i.reftable_offset),
    'table-is-directory': set_entry('table_offset', lambda i, e: i.directory_offset),
    'table-is-table-of-another': set_entry('table_offset', lambda i, e: i.bitmap('first').table_offset),
    'data-is-l1': set_table(lambda i, e: i.l1_offset),
    'data-is-l2': set_table(lambda i, e: i.l2_place(0) // i.cluster_size * i.cluster_size),
    'data-is-guest-data': set_table(lambda i, e: i.words(i.l2_place(0), 1)[0] & 0x00fffffffffffe00),
    'data-is-header': set_table(lambda i, e: 1 << 63),
    'data-is-data-of-another': set_table(lambda i, e: i.bitmap('first').table[0]),
    'data-is-its-table': set_table(lambda i, e: e.table_offset),
}


OF_THE_FIRST = ('table-is-table-of-another', 'data-is-data-of-another')


def kept(work, name, dirty, command, may_be_refused):
    """The bits of a bitmap are as they were. Where a second one has them, too, nobody knows whose they are: refused, or all."""
    result = work.qcbm('extents', '--output=json', WORK, name, rc=(0, 1) if may_be_refused and name == 'first' else 0)
    if result.code == 0:
        got = ranges_clip([(r['offset'], r['offset'] + r['length']) for r in json.loads(result.out) if r['type']], 2 * MiB)
        expected = dirty if not may_be_refused or got != [(0, 2 * MiB)] else got
        require_equal(got, expected, 'bitmap %s after %r' % (name, command))


def case_overlap(work, defect):
    """A bitmap that claims clusters of others: whatever is refused or done, the others keep theirs."""
    dirty = four_bitmaps(work)
    path = work.path(IMAGE)
    copy_sparse(path, work.path('twin.qcow2'))
    image = Qcow2(path)
    guest = image.guest_tables()
    OVERLAPS[defect](path, image, image.bitmap('second'))
    work.note('# by hand: ' + defect)
    before = corruptions(work, IMAGE)
    for command in (['bitmap', '--remove', WORK, 'second'], ['bitmap', '--clear', WORK, 'second'],
                    ['bitmap', '--disable', WORK, 'first'], ['bitmap', '--remove', WORK, 'third'],
                    ['bitmap', '--merge', 'second', WORK, 'third'], ['bitmap', '--add', WORK, 'new'], ['synth', WORK, 'new'],
                    ['synth', '--replace', WORK, 'second']):
        copy_sparse(path, work.path(WORK))
        was = digest(work.path(WORK))
        if work.qcbm(*command, rc=(0, 1)).code:
            require(digest(work.path(WORK)) == was, '%r failed, but the image changed' % command)
            continue
        require_equal(Qcow2(work.path(WORK)).guest_tables(), guest, 'guest tables after %r' % command)
        now = corruptions(work, WORK)
        require(before is None or (now is not None and now <= before), 'corruptions after %r: %r, before: %r'
                % (command, now, before))
        for name in ('first', 'third', 'fourth'):
            if name != command[-1]:
                kept(work, name, dirty[name], command, defect in OF_THE_FIRST)
        if now is not None:
            work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', WORK, 'twin.qcow2')


def case_whose_bits(work, defect):
    """Two bitmaps with the same bits: nothing reads either of them, whichever of them is the wrong one."""
    dirty = four_bitmaps(work)
    path = work.path(IMAGE)
    image = Qcow2(path)
    work.create('other', 2 * MiB)
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'other', 'all')
    work.create('top', 2 * MiB, '', IMAGE)
    for name in ('first', 'second'):
        work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'top', name)
    OVERLAPS[defect](path, image, image.bitmap('second'))
    work.note('# by hand: ' + defect)
    for name in ('first', 'second'):
        for command in (['extents', IMAGE, name], ['extents', '--with=zero', IMAGE, name],
                        ['bitmap', '--export=out', IMAGE, name], ['bitmap', '--copy-to=other', IMAGE, name],
                        ['bitmap', '--merge', name, IMAGE, 'third'], ['bitmap', '--subtract', name, IMAGE, 'third'],
                        ['bitmap', '--intersect', 'third', IMAGE, name], ['bitmap', '--set=0:1M', IMAGE, name],
                        ['bitmap', '--merge', name, '-b', IMAGE, 'other', 'all'],
                        ['bitmap', '--collect=' + name, 'top']):
            work.qcbm_refused(*command, unchanged=[IMAGE, 'other', 'top'])
    for name in ('third', 'fourth'):
        data = json.loads(work.qcbm('extents', '--output=json', IMAGE, name).out)
        got = ranges_clip([(r['offset'], r['offset'] + r['length']) for r in data if r['type']], 2 * MiB)
        require_equal(got, dirty[name], 'a good one')
    listed = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    require_equal([b['name'] for b in listed['bitmaps'] if not b['dirty-bytes']], ['first', 'second'], 'without a number')


def case_duplicate_name(work):
    """Two entries of one name: both are shown, neither is taken for the other in silence."""
    dirty = four_bitmaps(work)
    path = work.path(IMAGE)
    image = Qcow2(path)
    second = image.bitmap('second')
    work.note('# by hand: the name "second" becomes "fourth" as well')
    patch(path, second.entry_offset + 24, b'fourth')
    listed = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    names = [b['name'] for b in listed['bitmaps']]
    require_equal(sorted(names), ['first', 'fourth', 'fourth', 'third'], 'names')
    require(listed['findings'] or any(b['findings'] for b in listed['bitmaps']), 'nothing is found wrong')
    for command in (['extents', IMAGE, 'fourth'], ['bitmap', '--export=out', IMAGE, 'fourth'],
                    ['bitmap', '--merge', 'fourth', IMAGE, 'third']):
        work.qcbm_refused(*command, unchanged=[IMAGE])
    data = json.loads(work.qcbm('extents', '--output=json', IMAGE, 'third').out)
    got = ranges_clip([(r['offset'], r['offset'] + r['length']) for r in data if r['type']], 2 * MiB)
    require_equal(got, dirty['third'], 'a good one')


def case_extra_data(work):
    """Extra data is legal by the specification, though qemu refuses it: kept, shown, and never written by qcbm itself."""
    dirty = four_bitmaps(work)
    path = work.path(IMAGE)
    image = Qcow2(path)
    raw = b''
    for b in image.bitmaps():
        if b.name == b'second':
            entry = bytearray(b.raw[:24]) + b'EXTRA!!!' + b.name
            entry[20:24] = (8).to_bytes(4, 'big')
            entry[12:16] = (b.flags | 4).to_bytes(4, 'big')
            raw += bytes(entry) + bytes(-len(entry) % 8)
        else:
            raw += b.raw
    work.note('# by hand: extra data of 8 bytes in the entry of "second"')
    patch(path, image.directory_offset, raw)
    extensions = [(k, struct.pack('>IIQQ', 4, 0, len(raw), image.directory_offset) if k == EXT_BITMAPS else d)
                  for k, d in image.extensions]
    rewrite_first_cluster(path, extensions)
    listed = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    one = [b for b in listed['bitmaps'] if b['name'] == 'second'][0]
    require_equal((one['extra-data-size'], one['extra-data']), (8, b'EXTRA!!!'.hex()), 'extra data')
    for name in GOOD:
        data = json.loads(work.qcbm('extents', '--output=json', IMAGE, name).out) if name != 'second' else None
        if data is not None:
            got = ranges_clip([(r['offset'], r['offset'] + r['length']) for r in data if r['type']], 2 * MiB)
            require_equal(got, dirty[name], 'extents of ' + name)
    was = digest(path)
    result = work.qcbm('bitmap', '--disable', IMAGE, 'first', rc=(0, 1))
    if result.code:
        require(digest(path) == was, 'refused, but the image changed')
    else:
        after = Qcow2(path)
        require(b'EXTRA!!!second' in after.read(after.directory_offset, after.directory_size), 'extra data was lost')
    work.qcbm('bitmap', '--remove', IMAGE, 'second')
    work.run('qemu-img', 'check', '-q', '-f', 'qcow2', IMAGE, rc=(0, 3))
    rest = [name for name in GOOD if name != 'second']
    require_equal(served_dirty(work, IMAGE, rest), {name: dirty[name] for name in rest}, 'the others by qemu-nbd')


def extension(field, value):
    place = {'nb': (0, '>I'), 'reserved': (4, '>I'), 'size': (8, '>Q'), 'offset': (16, '>Q'), 'length': (-4, '>I')}[field]

    def break_it(path, image):
        at = image.bitmaps_offset() + 8 + place[0]
        patch(path, at, struct.pack(place[1], value(image) if callable(value) else value))
    return break_it


EXTENSION_DEFECTS = {
    'nb-0': extension('nb', 0), 'nb-3': extension('nb', 3), 'nb-5': extension('nb', 5), 'nb-65536': extension('nb', 65536),
    'nb-largest': extension('nb', 0xffffffff), 'reserved': extension('reserved', 1), 'size-0': extension('size', 0),
    'size-8-less': extension('size', lambda i: i.directory_size - 8),
    'size-8-more': extension('size', lambda i: i.directory_size + 8),
    'size-huge': extension('size', 1 << 62), 'size-largest': extension('size', (1 << 64) - 1),
    'offset-unaligned': extension('offset', lambda i: i.directory_offset + 8), 'offset-0': extension('offset', 0),
    'offset-past-the-end': extension('offset', 1 << 40), 'offset-largest': extension('offset', (1 << 64) - 4096),
    'length-16': extension('length', 16), 'length-32': extension('length', 32), 'length-huge': extension('length', 0xfffffff8),
    'directory-is-l1': extension('offset', lambda i: i.l1_offset),
    'directory-is-header': extension('offset', lambda i: 0),
}


def case_bad_extension(work, defect):
    four_bitmaps(work)
    path = work.path(IMAGE)
    EXTENSION_DEFECTS[defect](path, Qcow2(path))
    work.note('# by hand: bitmaps extension: ' + defect)
    run_all(work, IMAGE, lambda: None, 6)
    # a bitmap cannot be added beside what is not understood, and the rest of the image is there to see
    copy_sparse(path, work.path(WORK))
    work.qcbm('synth', WORK, 'new', rc=1)
    work.qcbm('bitmap', '--list', WORK)
    work.qcbm('info', WORK)


# ---- damaged mapping -----------------------------------------------------------------------------------------------------

def l2_word(value):
    """A new L2 entry for guest offset 128 KiB."""
    def break_it(path, image):
        place = image.l2_place(128 * KiB)
        old = image.words(place, 1)[0]
        patch(path, place, struct.pack('>Q', value(image, old) & ((1 << 64) - 1)))
        return 'cluster'
    return break_it


def l2_bits(value):
    def break_it(path, image):
        place = image.l2_place(128 * KiB)
        patch(path, place + 8, struct.pack('>Q', value))
        return 'cluster'
    return break_it


def unallocated_with_bits(path, image):
    patch(path, image.l2_place(128 * KiB), struct.pack('>QQ', 0, 1 << 5))
    return 'cluster'


def l1_word(value):
    def break_it(path, image):
        old = image.words(image.l1_offset, 1)[0]
        patch(path, image.l1_offset, struct.pack('>Q', value(image, old) & ((1 << 64) - 1)))
        return 'table'
    return break_it


MAPPING = {
    'l2-unaligned': l2_word(lambda i, w: w + 512),
    'l2-past-the-end': l2_word(lambda i, w: 1 << 63 | 1 << 40),
    'l2-just-past-the-end': l2_word(lambda i, w: 1 << 63 | -(-i.file_size // i.cluster_size) * i.cluster_size),
    'l2-reserved-high': l2_word(lambda i, w: w | 1 << 57),
    'l2-reserved-low': l2_word(lambda i, w: w | 4),
    'l2-zero-unaligned': l2_word(lambda i, w: (w + 512) | 1),
    'l2-compressed-past-the-end': l2_word(lambda i, w: 1 << 62 | 1 << 40),
    'l1-unaligned': l1_word(lambda i, w: w + 512),
    'l1-past-the-end': l1_word(lambda i, w: 1 << 63 | 1 << 40),
    'l1-reserved-high': l1_word(lambda i, w: w | 1 << 56),
    'l1-reserved-low': l1_word(lambda i, w: w | 1),
}
SUBCLUSTER_MAPPING = {
    'sub-alloc-and-zero': l2_bits(1 << 3 | 1 << 35),
    'sub-all-bits': l2_bits((1 << 64) - 1),
    'sub-unallocated-with-bits': unallocated_with_bits,
    'sub-unaligned': MAPPING['l2-unaligned'],
    'sub-past-the-end': MAPPING['l2-past-the-end'],
}


def case_mapping(work, defect, cluster, extended):
    """Damaged entries are dirty in a dry run, which fails; nothing is attached to the image."""
    size = 4 * MiB

    def make():
        work.create('base', size)
        work.create(IMAGE, size, 'cluster_size=%d%s' % (cluster, ',extended_l2=on' if extended else ''), 'base')
        work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', IMAGE, 'one')
        work.io(IMAGE, 'write -P 3 128k 512', 'write -P 3 %d 512' % (256 * KiB), 'write -P 4 %d 512' % (3 * MiB))
        work.create('top.qcow2', size, '', IMAGE)
    work.made_once(('mapping', cluster, extended), ('base', IMAGE, 'top.qcow2'), make)
    allocated = served_depth(work, IMAGE)
    path = work.path(IMAGE)
    image = Qcow2(path)
    extent = {**MAPPING, **SUBCLUSTER_MAPPING}[defect](path, image)
    work.note('# by hand: ' + defect)
    was = digest(path)
    if extent == 'cluster':
        bad = [(128 * KiB, 128 * KiB + cluster)]
    else:
        bad = [(0, cluster // (16 if extended else 8) * cluster)]
    expected = ranges_clip(ranges_or(allocated, bad), size)
    result = work.qcbm('synth', '-g', '512', '--dry-run', '--output=json', IMAGE, 'new', rc=1)
    require_one_line(result, 'synth --dry-run', IMAGE)
    data = json.loads(result.out)
    require(data['damaged-entries'] >= 1, 'no damaged entries are counted: %r' % data)
    # an entry's other bits may be taken at their word where that is more than the damage
    require_equal(data['dirty-bytes'], ranges_total(expected), 'dirty bytes of the dry run')
    result = work.qcbm('synth', '--dry-run', IMAGE, 'new', rc=1)
    require_one_line(result, 'synth --dry-run', IMAGE)
    for extra in ([], ['-g', '512'], ['--disabled']):
        work.qcbm_refused('synth', *extra, IMAGE, 'new', says=['check'], file=IMAGE, unchanged=[IMAGE])
    # over a chain, and into another image, the same
    work.create('copy.qcow2', size)
    work.qcbm_refused('synth', '--into', 'copy.qcow2', IMAGE, 'new', says=['check'], file=IMAGE,
                      unchanged=[IMAGE, 'copy.qcow2'])
    work.qcbm_refused('synth', '--since', 'base', 'top.qcow2', 'new', file=IMAGE, unchanged=[IMAGE, 'top.qcow2'])
    # what has nothing to do with the mapping is to be had
    work.qcbm('extents', IMAGE, 'one')
    work.qcbm('bitmap', '--list', IMAGE)
    work.qcbm('info', IMAGE)
    require(digest(path) == was, 'the damaged image changed')


# ---- single bytes -----------------------------------------------------------------------------------------------------------

def case_bytes(work, fixture, seed, count):
    """Single bytes of the metadata, changed at random."""
    FIXTURES[fixture](work)
    rng = random.Random(seed)
    image = Qcow2(work.path(IMAGE))
    places = list(range(0, min(image.extensions_end + 40, 600)))
    places += list(range(image.l1_offset, image.l1_offset + 8 * image.l1_size))
    places += list(range(image.reftable_offset, image.reftable_offset + 64))
    for entry in image.words(image.l1_offset, image.l1_size):
        table = entry & 0x00fffffffffffe00
        if table:
            places += [table + k for k in range(0, min(image.cluster_size, 1024))]
    for b in image.bitmaps():
        places += list(range(b.entry_offset, b.entry_offset + b.entry_size))
        places += list(range(b.table_offset, b.table_offset + 8 * b.table_size))
    if image.nb_snapshots:
        places += list(range(image.snapshots_offset, image.snapshots_offset + 160))
    for _ in range(count):
        at = rng.choice(places)
        old = peek(work.path(IMAGE), at, 1) or b'\0'
        new = bytes([rng.choice([0, 1, 0x7f, 0x80, 0xff, old[0] ^ 1 << rng.randrange(8)])])
        copy_sparse(work.path(IMAGE), work.path('byte.qcow2'))
        patch(work.path('byte.qcow2'), at, new)
        work.note('# by hand: byte %d of %s: %s -> %s, as %s' % (at, IMAGE, old.hex(), new.hex(), WORK))
        known = []

        def before():
            if not known:
                known.append(corruptions(work, 'byte.qcow2'))
            return known[0]
        run_all(work, 'byte.qcow2', before, 6)
        del work.log[:-30]


def main():
    args = arguments('damaged images')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cuts, byte_count = (400, 300) if args.full else (28, 12)
    cases = []
    for k, fixture in enumerate(FIXTURES):
        cases.append((case_whole, 'whole-' + fixture, {'fixture': fixture}))
        cases.append((case_cut, 'cut-' + fixture, {'fixture': fixture, 'seed': args.seed + k, 'count': cuts}))
        cases.append((case_bytes, 'bytes-' + fixture, {'fixture': fixture, 'seed': args.seed * 7 + k, 'count': byte_count}))
    for defect in DEFECTS:
        positions = (0, 1, 3) if args.full or defect in ('type-2', 'table-past-the-end', 'table-entry-unaligned') else (1,)
        for position in positions:
            cases.append((case_bad_entry, 'entry-%s-%d' % (defect, position), {'defect': defect, 'position': position}))
    cases += [(case_whose_bits, 'whose-bits-' + defect, {'defect': defect}) for defect in OF_THE_FIRST]
    cases += [(case_overlap, 'overlap-' + defect, {'defect': defect}) for defect in OVERLAPS]
    cases += [(case_duplicate_name, 'entry-duplicate-name', {}), (case_extra_data, 'entry-extra-data', {})]
    cases += [(case_bad_extension, 'extension-' + defect, {'defect': defect}) for defect in EXTENSION_DEFECTS]
    for cluster in (4 * KiB, 64 * KiB):
        cases += [(case_mapping, 'mapping-%s-%d' % (defect, cluster),
                   {'defect': defect, 'cluster': cluster, 'extended': False}) for defect in MAPPING]
    for cluster in (16 * KiB, 64 * KiB):
        cases += [(case_mapping, 'mapping-%s-%d' % (defect, cluster),
                   {'defect': defect, 'cluster': cluster, 'extended': True}) for defect in SUBCLUSTER_MAPPING]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
