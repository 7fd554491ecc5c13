#!/usr/bin/env python3
# revive_lost.py - a bitmap is in use, and what mapped the guest's writes is damaged: what is revived covers every byte that
# differs from when the bitmap was exact, be it that it was written or that it is lost now
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool.

import re
import shutil

import qtool
from qtool import KiB, MiB, Qcow2, patch, require, require_equal

SIZE = 16 * MiB
CLUSTER = 4 * KiB
SPAN = CLUSTER // 8 * CLUSTER  # of an L2 table
IN_USE = b'\0\0\0\3'


def l1_place(image, index):
    return image.words(40, 1)[0] + 8 * index


def l2_zeroed(image):
    patch(image.path, image.l2_place(SPAN), bytes(CLUSTER))


def half_of_l2_zeroed(image):
    patch(image.path, image.l2_place(SPAN), bytes(512))


def l2_overwritten(image):
    patch(image.path, image.l2_place(SPAN), bytes((7 * k + 1) % 251 for k in range(CLUSTER)))


def l1_zeroed(image):
    patch(image.path, l1_place(image, 1), bytes(8))


def l1_past_the_end(image):
    patch(image.path, l1_place(image, 1), (1 << 63 | 1 << 40).to_bytes(8, 'big'))


def l2_entry_past_the_end(image):
    patch(image.path, image.l2_place(SPAN), (1 << 63 | 1 << 40).to_bytes(8, 'big'))


def l2_entries_given_away(image):
    """The last half of a table is what an older file had there: valid, and of another place."""
    patch(image.path, image.l2_place(SPAN) + 256, bytes((1, 2, 3, 4, 5, 6, 7, 8)) * 16)


def refcounts_zeroed(image):
    patch(image.path, image.words(image.words(48, 1)[0], 1)[0] + 32, bytes(64))  # of data of the guest


def nothing(image):
    del image


def content(work):
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'content.raw')
    with open(work.path('content.raw'), 'rb') as f:
        return f.read()


def make(work):
    """Some clusters of the session are written, and the bitmap was stored before them. Returns what was exact."""
    work.create('a.qcow2', SIZE, options='cluster_size=4096')
    work.io('a.qcow2', 'write -q -P 1 0 100k', 'write -q -P 2 2M 64k', 'write -q -P 3 8M 64k')
    work.run('qemu-img', 'bitmap', '--add', '-g', '4096', 'a.qcow2', 'b0')
    exact = content(work)
    work.run('qemu-img', 'bitmap', '--disable', 'a.qcow2', 'b0')  # the session writes, and saves nothing
    work.io('a.qcow2', 'write -q -P 4 40k 8k', 'write -q -P 5 2M 300k', 'write -q -P 6 12M 4k')
    patch(work.path('a.qcow2'), Qcow2(work.path('a.qcow2')).bitmaps()[0].entry_offset + 12, IN_USE)
    return exact


def revived(work, damage, verb, whole, done, exact=None):
    """@whole: all of the disk is dirty, and the reason is told. @done: the bitmap is revived, or it stays as it is, which
    is told."""
    exact = exact or make(work)
    damage(Qcow2(work.path('a.qcow2')))
    before = qtool.digest(work.path('a.qcow2'))
    codes = (0, 2, 3) if done else (1, 2, 3)
    told = work.qcbm(*verb, 'a.qcow2', *(['b0'] if verb[-1] == '--revive' else []), rc=codes)
    image = Qcow2(work.path('a.qcow2'))
    if not done:
        require_equal([b.in_use for b in image.bitmaps()], [True], 'is it in use')
        if told.code == 1:
            require_equal(qtool.digest(image.path), before, 'digest after a refusal')
        else:
            require('left: [bitmaps-left]' in told.err, 'it is told: ' + told.err)
        return
    require_equal([b.name for b in image.bitmaps() if not b.in_use], [b'b0'], 'bitmaps not in use')
    dirty = qtool.served_dirty(work, 'a.qcow2', ['b0'])['b0']
    now = content(work)
    changed = [(k, k + 512) for k in range(0, SIZE, 512) if exact[k:k + 512] != now[k:k + 512]]
    require_equal(qtool.ranges_minus(qtool.ranges_norm(changed), dirty, SIZE), [], 'bytes that differ and are not dirty')
    require_equal(dirty == [(0, SIZE)], whole, 'all of the disk is dirty')
    said = told.out + told.err
    require_equal('all of the disk' in said, whole, 'it is said')
    require_equal('went to a cluster that is allocated now' in said, not whole, 'the claim of allocation')


def leaks_of_a_crash(work):
    """They may be data of a lost table, so all is dirty; the way out of that, for who knows better, is told, and works."""
    exact = make(work)
    path = work.path('a.qcow2')
    image = Qcow2(path)
    first = -(-image.file_size // CLUSTER)
    with open(path, 'r+b') as f:
        f.truncate((first + 40) * CLUSTER)
    patch(path, image.words(image.words(48, 1)[0], 1)[0] + 2 * first, b'\0\1' * 40)
    shutil.copy(path, work.path('kept.qcow2'))
    told = work.qcbm('bitmap', '--revive', 'a.qcow2', 'b0')
    require('all of the disk' in told.out + told.err, told.out + told.err)
    way = re.search("'qcbm (check .*) FILE'", told.out + told.err)
    require(way, 'no way is told: ' + told.out + told.err)
    shutil.copy(work.path('kept.qcow2'), path)
    work.qcbm(*way.group(1).split(), 'a.qcow2')
    revived(work, nothing, ['bitmap', '--revive'], False, True, exact)


def raw_data_file(work):
    """Its allocation says nothing: the bitmap stays in use, and each command says which sources there are."""
    work.create('a.qcow2', SIZE, options='data_file=a.raw,data_file_raw=on')
    work.io('a.qcow2', 'write -q -P 1 0 100k')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b0')
    patch(work.path('a.qcow2'), Qcow2(work.path('a.qcow2')).bitmaps()[0].entry_offset + 12, IN_USE)
    before = qtool.digest(work.path('a.qcow2'))
    for verb, code in ((['bitmap', '--revive', 'a.qcow2', 'b0'], 1), (['bitmap', '--revive-all', 'a.qcow2'], 1),
                       (['check', '-r', 'bitmaps', 'a.qcow2'], 0), (['check', '-r', 'all', 'a.qcow2'], 0)):
        told = work.qcbm(*verb, rc=code)
        for source in '--import', '--merge', '--trust':
            require(source in told.err, '%s is not named: %s' % (source, told.err))
        require_equal(qtool.digest(work.path('a.qcow2')), before, 'digest')
    work.qcbm('bitmap', '--revive', '--trust', 'a.qcow2', 'b0')
    require_equal(Qcow2(work.path('a.qcow2')).bitmaps()[0].in_use, False, 'in use, with --trust')
    require_equal(qtool.served_dirty(work, 'a.qcow2', ['b0'])['b0'], [], 'what was stored')


VERBS = ['bitmap', '--revive'], ['bitmap', '--revive-all'], ['check', '-r', 'bitmaps'], ['check', '-r', 'all'], \
    ['check', '-r', 'all', '--force']


def cases():
    """Damage, is all of the disk dirty, and the commands that revive nevertheless. Those of revive alone refuse what -r all
    mends first, and -r all what only --force gives up."""
    every, forced = ('--revive', '--revive-all', 'bitmaps', 'all', '--force'), ('--force',)
    rows = [(nothing, False, every), (refcounts_zeroed, False, ('all', '--force')), (l2_zeroed, True, every),
            (half_of_l2_zeroed, True, every), (l2_overwritten, True, forced), (l1_past_the_end, True, forced),
            (l1_zeroed, True, ('--revive', '--revive-all', 'bitmaps', '--force')), (l2_entry_past_the_end, True, forced),
            (l2_entries_given_away, True, forced)]
    return [(revived, '%s, %s' % (damage.__name__.replace('_', ' '), ' '.join(verb)),
             {'damage': damage, 'verb': verb, 'whole': whole, 'done': verb[-1] in does})
            for damage, whole, does in rows for verb in VERBS] + [(leaks_of_a_crash, 'leaks of a crash', {}), (raw_data_file, 'raw data file', {})]


def main():
    args = qtool.arguments(__doc__ or 'bitmaps revived where mapping tables are damaged')
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    qtool.run_cases(args, cases())


if __name__ == '__main__':
    main()
