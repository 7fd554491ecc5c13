#!/usr/bin/env python3
# edit.py - qcbm edit, with qemu-img as witness: what breaks an image is refused; forced, it is told, and set back is the same file
#
# SPDX-License-Identifier: MIT
#
# usage: edit.py and the options of all interop tests.

import json

from qtool import Qcow2, arguments, digest, need_tools, peek, require, require_equal, run_cases

OFFSET_MASK = 0x00fffffffffffe00
SHAPES = {
    'plain': ['cluster_size=64k'],
    'small': ['cluster_size=512'],
    'subclusters': ['cluster_size=16k,extended_l2=on'],
    'refcount-1': ['cluster_size=4k,refcount_bits=1'],
    'refcount-64': ['cluster_size=4k,refcount_bits=64'],
    'version-2': ['cluster_size=4k,compat=0.10'],
    'snapshots': ['cluster_size=4k'],
}


def make(work, shape):
    work.made_once(shape, ['image'], lambda: make_anew(work, shape))
    return Qcow2(work.path('image'))


def make_anew(work, shape):
    work.create('image', '1M', SHAPES[shape][0])
    work.io('image', 'write -q 0 128k', 'write -q 256k 64k')
    if shape == 'snapshots':
        work.run('qemu-img', 'snapshot', '-c', 'one', 'image')
        work.io('image', 'write -q 0 16k')
    if shape != 'version-2':
        for name in 'b0', 'b1':
            work.run('qemu-img', 'bitmap', '--add', '-g', '4k', 'image', name)
        work.io('image', 'write -q 512k 64k')


def number(path, place, length):
    return int.from_bytes(peek(path, place, length), 'big')


def l2(image, guest):
    return image.words(image.l2_place(guest), 1)[0]


# ---- what an edit can break: name -> [(field, old, new)], or None where the shape has no such ---------------------

def two_owners(image):
    return [('l2 0x%x' % image.cluster_size, l2(image, image.cluster_size), l2(image, 0))]


def metadata_owner(image):
    return [('l2 0', l2(image, 0), 1 << 63 | image.reftable_offset)]


def past_end(image):
    return [('l2 0', l2(image, 0), 1 << 63 | image.file_size + (1 << 30))]


def l1_nowhere(image):
    return [('l1 0', image.words(image.l1_offset, 1)[0], 1 << 40)]


def refcount_lost(image):
    cluster = (l2(image, 0) & OFFSET_MASK) // image.cluster_size
    return [('refcount %d' % cluster, image.refcount(cluster * image.cluster_size), 0)]


def block_lost(image):
    old = image.words(image.reftable_offset, 1)[0]
    return [('refcount_table 0', old, old + (1 << 30))]


def subclusters(image):
    word = int.from_bytes(image.read(image.l2_place(0) + 8, 8), 'big')
    return [('subclusters 0', word, word | 1 | 1 << 32)] if image.extended_l2 else None


def magic(image):
    return [('header magic', 0x514649fb, 0)]


def end_mark(image):
    """Its length means nothing, but QEMU looks at it before it knows the type."""
    at, index = 72 if image.version == 2 else number(image.path, 100, 4), 0
    while number(image.path, at, 4) != 0:
        at += 8 + (number(image.path, at + 4, 4) + 7 & ~7)
        index += 1
    return [('extension %d length' % index, 0, image.cluster_size)]


def cluster_bits(image):
    return [('header cluster_bits', image.cluster_size.bit_length() - 1, 63)]


def two_fields(image):
    return [('header version', image.version, 7), ('header size', image.size, 1 << 63)]


def bitmap_constraint(image):
    return image.nb_bitmaps and [('bitmap b1 granularity_bits', image.bitmap('b1').gran_bits, 99)]


def bitmap_table(image):
    return image.nb_bitmaps and [('bitmap_table b0 0', image.bitmap('b0').table[0], image.bitmap('b0').table[0] | 2)]


def directory(image):
    return image.nb_bitmaps and [('bitmaps bitmap_directory_size', image.directory_size, image.directory_size + 8)]


def snapshot(image):
    return image.nb_snapshots and [('snapshot 0 l1_table_offset', number(image.path, image.snapshots_offset, 8), 1 << 45 | 1)]


BREAKS = [two_owners, metadata_owner, past_end, l1_nowhere, refcount_lost, block_lost, subclusters, magic, end_mark,
          cluster_bits, two_fields, bitmap_constraint, bitmap_table, directory, snapshot]


def case_break(work, shape, fault):
    image = make(work, shape)
    edits = fault(image)
    if not edits:
        return
    was, path = digest(image.path), image.path
    forth = ['%s: 0x%x=0x%x' % edit for edit in edits]
    back = ['%s: 0x%x=0x%x' % (field, new, old) for field, old, new in edits]
    work.qcbm_refused('edit', 'image', *forth, file='image', says=['nothing was written'], unchanged=['image'])
    told = json.loads(work.qcbm('edit', '--output=json', '--dry-run', '--force', 'image', *forth).out)
    require_equal(digest(path), was, 'image after a dry run')
    for edit, (_, old, new) in zip(told['edits'], edits):
        require_equal((edit['old-value'], edit['new-value']), (old, new), 'what a dry run tells')
        require_equal(peek(path, edit['offset'], edit['length']).hex(), edit['old-bytes'], 'bytes that a dry run shows')
    work.qcbm('edit', '--force', '--undo=undo', 'image', *forth)
    broken = digest(path)
    for edit in told['edits']:
        require_equal(peek(path, edit['offset'], edit['length']).hex(), edit['new-bytes'], 'bytes that an edit wrote')
    opens = work.run('qemu-img', 'info', '-f', 'qcow2', 'image', rc=None).code == 0
    found = work.run('qemu-img', 'check', '-q', '-f', 'qcow2', 'image', rc=None).code
    require(found != 0 or fault in (bitmap_constraint, bitmap_table, directory), 'QEMU finds nothing')
    require(told['worse'] and (not opens or told['opens-after']), 'a dry run does not tell what QEMU says')
    work.qcbm('check', '-f', 'qcow2', 'image', rc=(1, 2) if found or fault in (bitmap_table,) else (0, 1, 2))
    work.qcbm('edit', '--force', 'image', *back)
    require_equal(digest(path), was, 'image that was set back')
    work.qcbm('edit', '--force', 'image', *forth)
    require_equal(digest(path), broken, 'image that was broken again')
    work.qcbm('undo', '-q', '--force', 'image', 'undo')
    require_equal(digest(path), was, 'image after undo')


def case_mend(work):
    """By hand what a repair does: two owners of a cluster; the loser is given up, QEMU finds nothing then."""
    image = make(work, 'plain')
    fields = two_owners(image)
    lost = (fields[0][1] & OFFSET_MASK) // image.cluster_size
    work.qcbm('edit', '--force', 'image', '%s: %d=%d' % fields[0])
    work.run('qemu-img', 'check', '-q', 'image', rc=2)
    work.qcbm('edit', '--undo=undo', 'image', '%s: %d=1' % (fields[0][0], fields[0][2]), 'refcount %d: 1=0' % lost)
    work.run('qemu-img', 'check', '-q', 'image')
    work.run('qemu-io', '-f', 'qcow2', '-c', 'read -q -P 0 64k 1', 'image')


def case_locked(work):
    image = make(work, 'plain')
    was = digest(image.path)
    with work.serve('image'):
        work.qcbm_refused('edit', 'image', 'bitmap b0 flags: 2=0', file='image', says=['lock'], unchanged=['image'])
        work.qcbm('edit', '--dry-run', 'image', 'bitmap b0 flags: 2=0')
    require_equal(digest(image.path), was, 'image')
    work.qcbm('edit', 'image', 'bitmap b0 flags: 2=0')
    require('auto' not in work.info_bitmaps('image')['b0'][1], 'QEMU shows the flag as it was')


def main():
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd')
    args = arguments(__doc__)
    cases = [(case_mend, 'mend', {}), (case_locked, 'locked', {})]
    for shape in SHAPES:
        cases += [(case_break, '%s-%s' % (shape, fault.__name__), {'shape': shape, 'fault': fault}) for fault in BREAKS]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
