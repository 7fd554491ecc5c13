#!/usr/bin/env python3
# bitmap_chain.py - bitmaps of one name in the layers of a chain, and of a disk that has grown: `qcbm bitmap --collect`,
# `--commit-into`, `--prune --chain`, `--grown`
#
# SPDX-License-Identifier: MIT
#
# What a layer's bitmap says is taken from QEMU's NBD server, which opens the layer without its backing file, so that it
# cannot take the bitmap of another one. Random chains are held against content, too: every byte that differs from the disk
# as it was when the bitmaps began must be in the result.

import json
import os
import random

from like import kill_writer
from qtool import (KiB, MiB, Qcow2, arguments, clear_feature_bits, differing_ranges, digest, need_tools, patch,
                   ranges_clip, ranges_minus, ranges_or, ranges_outward, require, require_equal, run_cases,
                   served_dirty)


def alone(work, image, *names):
    """Dirty ranges of bitmaps of this one layer."""
    return list(served_dirty(work, image, names, alone=True).values())


def add(work, image, name, granularity=None, options=()):
    work.run('qemu-img', 'bitmap', '--add', *(['-g', str(granularity)] if granularity else []), *options, image, name)


def raw(work, image, out, size):
    """The guest's view, brought to a size with zeros or a cut."""
    work.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, out)
    os.truncate(work.path(out), size)
    return work.path(out)


def tail(size, top):
    return [(size // 512 * 512, top)] if size < top else []


def collected(work, images, sizes, granularity, name='C'):
    """What --collect is to make of bitmaps of images, from the top down."""
    pieces = [alone(work, image, name)[0] + tail(size, sizes[0]) for image, size in zip(images, sizes)]
    return ranges_outward(ranges_clip(ranges_or(*pieces), sizes[0]), granularity, sizes[0])


def collect(work, top, *options, name='C'):
    return json.loads(work.qcbm('bitmap', '--collect', name, *options, '--output=json', top).out)


def chain_of_three(work, size=2 * MiB):
    """Bitmaps C with writes in each layer but the raw one below; sizes from the top down."""
    work.run('qemu-img', 'create', '-q', '-f', 'raw', 'raw.img', size)
    below, backing_format = 'raw.img', 'raw'
    for name, granularity, write in (('base.qcow2', 4096, 'write 68k 4k'), ('mid.qcow2', 512, 'write -z 1M 512'),
                                     ('top.qcow2', 65536, 'write 1536k 1k')):
        work.create(name, size, '', below, backing_format)
        add(work, name, 'C', granularity)
        work.io(name, write)
        below, backing_format = name, 'qcow2'
    return ['top.qcow2', 'mid.qcow2', 'base.qcow2'], [size] * 3


def case_collect(work, into):
    images, sizes = chain_of_three(work)
    layers = [digest(work.path(name)) for name in images[1:]]
    expected = collected(work, images, sizes, 64 * KiB)
    options = ['--as', into] if into else []
    before = digest(work.path('top.qcow2'))
    dry = collect(work, 'top.qcow2', '--dry-run', *options)
    require_equal(digest(work.path('top.qcow2')), before, 'a dry run wrote')
    told = collect(work, 'top.qcow2', '--undo', 'undo', *options)
    require_equal((told['dirty-bytes'], dry['dirty-bytes']), (192 * KiB, 192 * KiB), 'figures')
    require_equal([(l['filename'], l.get('dirty-bytes')) for l in told['layers']],
                  [('top.qcow2', 64 * KiB), ('mid.qcow2', 512), ('base.qcow2', 4 * KiB), ('raw.img', None)], 'layers')
    require_equal(served_dirty(work, 'top.qcow2', [into or 'C'])[into or 'C'], expected, 'what qemu-nbd serves')
    require_equal(work.info_bitmaps('top.qcow2')[into or 'C'], (64 * KiB, ['auto']), 'granularity and state')
    work.check('top.qcow2')
    if not into:  # the same again adds nothing, and is not written
        again = collect(work, 'top.qcow2')
        require_equal((again['dirty-bytes'], again['plan']['writes']), (192 * KiB, 0), 'again')
    else:
        require_equal(alone(work, 'top.qcow2', 'C')[0], [(1536 * KiB, 1600 * KiB)], 'the bitmap it was made of')
        work.qcbm_refused('bitmap', '--collect', 'C', '--as', into, 'top.qcow2', says=['already exists'])
    work.qcbm('undo', 'top.qcow2', 'undo')
    require_equal(served_dirty(work, 'top.qcow2', ['C'])['C'], [(1536 * KiB, 1600 * KiB)], 'after the undo')
    require_equal([digest(work.path(name)) for name in images[1:]], layers, 'a layer below was written')


def case_begins_below(work):
    """A checkpoint goes on in an overlay: who takes the top's bitmap for it would miss what was written before."""
    work.create('low.qcow2', 4 * MiB)
    add(work, 'low.qcow2', 'C')
    work.qcbm('manifest', '-o', 'm', 'low.qcow2')
    work.io('low.qcow2', 'write -P 1 1M 64k')
    work.create('top.qcow2', 4 * MiB, '', 'low.qcow2')
    add(work, 'top.qcow2', 'C')
    work.io('top.qcow2', 'write -P 2 2M 64k')
    work.qcbm_refused('delta', '--bitmap=C', 'top.qcow2', 'd', says=['low.qcow2', '--chain'], unchanged=['top.qcow2'])
    work.qcbm_refused('manifest', '--update=m', '--bitmap=C', 'top.qcow2', says=['--collect'], unchanged=['m'])
    work.qcbm_refused('synth', '--against=m', '--within=C', 'top.qcow2', 'N', says=['--collect'], unchanged=['top.qcow2'])
    require('128 KiB of data' in work.qcbm('delta', '--bitmap=C', '--chain', 'top.qcow2', 'd').out, 'what both have')
    work.qcbm('bitmap', '--collect=C', '--as=ALL', 'top.qcow2')
    work.qcbm('synth', '--against=m', '--within=ALL', 'top.qcow2', 'N')
    require_equal(alone(work, 'top.qcow2', 'N'), [[(MiB, MiB + 64 * KiB), (2 * MiB, 2 * MiB + 64 * KiB)]], 'dirty')
    work.qcbm('manifest', '--update=m', '--bitmap=ALL', 'top.qcow2')
    work.qcbm('manifest', '--verify', 'm', 'top.qcow2')


def case_live(work):
    """Below a running writer bits are in memory: they can be looked at, and are not written."""
    images, _ = chain_of_three(work)
    with work.serve('mid.qcow2'):
        collect(work, 'top.qcow2', '-U', '--dry-run')
    require_equal(served_dirty(work, 'top.qcow2', ['C'])['C'], [(1536 * KiB, 1600 * KiB)], 'nothing is written')


def damage_table(work, image):
    patch(work.path(image), Qcow2(work.path(image)).bitmaps()[0].table_offset, b'\xff' * 8)


def case_refused(work, what):
    images, _ = chain_of_three(work)
    says = ['mid.qcow2']
    if what == 'gap':
        work.run('qemu-img', 'bitmap', '--remove', 'mid.qcow2', 'C')
        says = ["'mid.qcow2' has no bitmap 'C'", "'base.qcow2' below it does", 'qcbm synth']
    elif what == 'top-lacks':
        work.run('qemu-img', 'bitmap', '--remove', 'top.qcow2', 'C')
        says = ["Dirty bitmap 'C' not found", 'qcbm synth']
    elif what == 'in-use':
        kill_writer(work, 'mid.qcow2')
        says = ["layer 'mid.qcow2'", 'is inconsistent', '--revive']
    elif what == 'top-in-use':
        kill_writer(work, 'top.qcow2')
        says = ['is inconsistent', '--revive']
    elif what == 'damaged':
        damage_table(work, 'mid.qcow2')
        says = ["layer 'mid.qcow2'"]
    elif what == 'stale':
        clear_feature_bits(work.path('mid.qcow2'), 'autoclear', 1)
        says = ["layer 'mid.qcow2'", 'stale']
    elif what == 'no-layer':
        os.rename(work.path('base.qcow2'), work.path('away'))
        says = ['base.qcow2', 'No such file']
    result = work.qcbm_refused('bitmap', '--collect', 'C', 'top.qcow2', unchanged=['top.qcow2', 'mid.qcow2'])
    for words in says:
        require(words in result.err, 'not said: %s\n%s' % (words, result.err))


def case_disabled(work):
    """Taken, but said: libvirt refuses it, as writes after that are in none."""
    images, sizes = chain_of_three(work)
    work.run('qemu-img', 'bitmap', '--disable', 'mid.qcow2', 'C')
    expected = collected(work, images, sizes, 64 * KiB)
    result = work.qcbm('bitmap', '--collect', 'C', '--as', 'N', 'top.qcow2')
    require("'C' of 'mid.qcow2' is disabled" in result.err, result.err)
    require_equal(served_dirty(work, 'top.qcow2', ['N'])['N'], expected, 'what qemu-nbd serves')


# ---- the bitmaps' half of a commit ------------------------------------------------------------------------------

def commit_into(work, base, top, *options):
    """name -> (outcome, reason, where)"""
    told = json.loads(work.qcbm('bitmap', '--commit-into', base, '--output=json', *options, top).out)
    return {b['bitmap']: (b['outcome'], b.get('reason'), b.get('where')) for b in told['bitmaps']}


def case_commit(work):
    """Every state that libvirt tells apart; the data goes down behind the bitmaps."""
    work.create('base.qcow2', 2 * MiB)
    work.create('mid.qcow2', 2 * MiB, '', 'base.qcow2')
    work.create('top.qcow2', 2 * MiB, '', 'mid.qcow2')
    for image, names in (('base.qcow2', ['all', 'gap', 'old', 'frozen']), ('mid.qcow2', ['all', 'young', 'frozen']),
                         ('top.qcow2', ['all', 'young', 'youngest', 'gap', 'frozen'])):
        for name in names:
            add(work, image, name, {'base.qcow2': 65536, 'mid.qcow2': 512, 'top.qcow2': 4096}[image],
                ['--disable'] if (image, name) == ('mid.qcow2', 'frozen') else [])
    work.io('base.qcow2', 'write 4k 1k')
    work.io('mid.qcow2', 'write 1M 1k')
    work.io('top.qcow2', 'write 1536k 512')
    mid, top = alone(work, 'mid.qcow2', 'all')[0], alone(work, 'top.qcow2', 'all')[0]
    base = alone(work, 'base.qcow2', 'all')[0]
    before = [digest(work.path(name)) for name in ('base.qcow2', 'mid.qcow2', 'top.qcow2')]
    expected = {'all': ('merged', None, None), 'young': ('created', None, None), 'youngest': ('created', None, None),
                'gap': ('left-out', 'it is there again, and a layer above lacks it', 'base.qcow2'),
                'frozen': ('left-out', 'it is disabled there', 'mid.qcow2'),
                'old': ('left-out', 'it is not there', 'top.qcow2')}
    require_equal(commit_into(work, 'base.qcow2', 'top.qcow2', '--dry-run'), expected, 'dry run')
    require_equal([digest(work.path(name)) for name in ('base.qcow2', 'mid.qcow2', 'top.qcow2')], before, 'written')
    require_equal(commit_into(work, 'base.qcow2', 'top.qcow2', '--undo', 'undo'), expected, 'outcomes')
    require_equal([digest(work.path(name)) for name in ('mid.qcow2', 'top.qcow2')], before[1:], 'a layer was written')
    names = ['all', 'young', 'youngest', 'gap', 'frozen', 'old']
    require_equal(served_dirty(work, 'base.qcow2', names),
                  {'all': ranges_outward(ranges_or(base, mid, top), 65536, 2 * MiB),
                   'young': ranges_outward(ranges_or(mid, top), 4096, 2 * MiB), 'youngest': top,
                   'gap': base, 'frozen': base, 'old': base}, 'what qemu-nbd serves')
    info = work.info_bitmaps('base.qcow2')
    require_equal([info[name] for name in names[:3]], [(65536, ['auto']), (4096, ['auto']), (4096, ['auto'])], 'states')
    work.check('base.qcow2')
    work.qcbm('undo', 'base.qcow2', 'undo')
    require_equal(sorted(work.info_bitmaps('base.qcow2')), ['all', 'frozen', 'gap', 'old'], 'after the undo')
    # what the left ones lack is said
    result = work.qcbm('bitmap', '--commit-into', 'base.qcow2', 'top.qcow2')
    require_equal(result.err.count('does not say what the layers above it changed'), 3, 'warnings')
    again = json.loads(work.qcbm('bitmap', '--commit-into', 'base.qcow2', '--output=json', 'top.qcow2').out)
    require_equal(again['plan']['writes'], 0, 'the same again is written')
    work.run('qemu-img', 'commit', '-q', '-b', 'base.qcow2', 'top.qcow2')
    dirty = served_dirty(work, 'base.qcow2', ['all'])['all']
    require_equal(ranges_minus(ranges_or(base, mid, top), dirty, 2 * MiB), [], 'lost in the commit')


def case_commit_refused(work):
    chain_of_three(work)
    work.create('other.qcow2', 2 * MiB)
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'top.qcow2', '-F', 'qcow2', 'larger.qcow2', 3 * MiB)
    for base, top, says in (('other.qcow2', 'top.qcow2', 'not in the backing chain'),
                            ('top.qcow2', 'top.qcow2', 'into itself'),
                            ('top.qcow2', 'mid.qcow2', 'not in the backing chain'),
                            ('base.qcow2', 'larger.qcow2', 'smaller')):
        work.qcbm_refused('bitmap', '--commit-into', base, top, says=[says], unchanged=[base, top])
    kill_writer(work, 'mid.qcow2')
    require_equal(commit_into(work, 'base.qcow2', 'top.qcow2'), {'C': ('left-out', 'it is in use there', 'mid.qcow2')},
                  'in use')
    clear_feature_bits(work.path('mid.qcow2'), 'autoclear', 1)
    require_equal(commit_into(work, 'base.qcow2', 'top.qcow2'),
                  {'C': ('left-out', 'its bitmaps are stale', 'mid.qcow2')}, 'stale')
    clear_feature_bits(work.path('top.qcow2'), 'autoclear', 1)
    work.qcbm_refused('bitmap', '--commit-into', 'base.qcow2', 'top.qcow2', says=['stale'], unchanged=['base.qcow2'])


# ---- --prune --chain --------------------------------------------------------------------------------------------

def names_of(work, *images):
    return [sorted(work.info_bitmaps(image)) for image in images]


def case_prune(work):
    images, _ = chain_of_three(work)
    for image, names in zip(images, (['b-9', 'b-10', 'b-11'], ['b-10', 'b-2'], ['b-2', 'b-9'])):
        for name in names:
            add(work, image, name)
    before = [digest(work.path(image)) for image in images]
    was = names_of(work, *images)
    told = json.loads(work.qcbm('bitmap', '--prune', 'b-*', '--keep', '2', '--chain', '--dry-run', '--output=json',
                                'top.qcow2').out)
    require_equal([(one['image'], one['removed'], one['kept']) for one in told],
                  [('top.qcow2', ['b-9'], ['b-10', 'b-11']), ('mid.qcow2', ['b-2'], ['b-10']),
                   ('base.qcow2', ['b-2', 'b-9'], [])], 'dry run')
    require_equal([digest(work.path(image)) for image in images], before, 'a dry run wrote')
    work.run('touch', 'undo.2')
    work.qcbm_refused('bitmap', '--prune', 'b-*', '--chain', '--undo', 'undo', 'top.qcow2', says=['undo.2'],
                      unchanged=images)
    os.unlink(work.path('undo.2'))
    work.qcbm('bitmap', '--prune', 'b-*', '--keep', '2', '--chain', '--undo', 'undo', 'top.qcow2')
    require_equal(names_of(work, *images), [['C', 'b-10', 'b-11'], ['C', 'b-10'], ['C']], 'what is left')
    for image, undo in zip(images, ('undo', 'undo.1', 'undo.2')):
        work.check(image)
        work.qcbm('undo', image, undo)
    require_equal(names_of(work, *images), was, 'after the undo')
    with work.serve('base.qcow2'):  # a layer that somebody reads cannot be written: then none is
        work.qcbm_refused('bitmap', '--prune', 'b-*', '--chain', 'top.qcow2', unchanged=images)


# ---- a disk that has grown --------------------------------------------------------------------------------------

def case_grown(work, small, large, granularity, own):
    """Merge, copy and import from a smaller disk: the same bits, and all behind its end."""
    work.create('small.qcow2', small)
    add(work, 'small.qcow2', 'b', granularity)
    work.io('small.qcow2', 'write 4k 1k', 'write %d 512' % (small // 512 * 512 - 512))
    work.create('large.qcow2', large)
    add(work, 'large.qcow2', 'b', own)
    work.io('large.qcow2', 'write -P 3 300k 512')
    mine = alone(work, 'large.qcow2', 'b')[0]
    expected = ranges_or(served_dirty(work, 'small.qcow2', ['b'])['b'], tail(small, large))
    work.qcbm('bitmap', '--export', 'file', 'small.qcow2', 'b')
    for options in (['--merge', 'b', '-b', 'small.qcow2', 'large.qcow2', 'b'],
                    ['--copy-to', 'large.qcow2', '--as', 'copy', 'small.qcow2', 'b'],
                    ['--import', 'file', '--force', 'large.qcow2', 'imported']):
        if small // 512 != large // 512:
            work.qcbm_refused('bitmap', *options, unchanged=['large.qcow2'])
        work.qcbm('bitmap', '--grown', '--dry-run', *options)
        require_equal(alone(work, 'large.qcow2', 'b')[0], mine, 'a dry run wrote')
        work.qcbm('bitmap', '--grown', *options)
        mine = alone(work, 'large.qcow2', 'b')[0] if options[0] == '--merge' else mine
    covered = large // 512 * 512
    names = ['b', 'copy', 'imported']
    got = served_dirty(work, 'large.qcow2', names)
    last = [(covered - 1, covered)] if small != large else []
    wanted = ranges_or(ranges_clip(expected, covered), last)
    require_equal(got['b'], ranges_outward(ranges_or(wanted, [(300 * KiB, 300 * KiB + 512)]), own, covered), 'merged')
    require_equal(got['copy'], ranges_outward(wanted, granularity, covered), 'copied')
    wanted = wanted if small // 512 != large // 512 else ranges_clip(expected, covered)
    require_equal(got['imported'], ranges_outward(wanted, granularity, covered), 'imported')
    work.check('large.qcow2')


def case_grown_refused(work):
    work.create('small.qcow2', MiB)
    work.create('large.qcow2', 2 * MiB)
    for image in 'small.qcow2', 'large.qcow2':
        add(work, image, 'b')
        work.io(image, 'write -P 1 0 64k')
    for options in (['--merge', 'b', '-b', 'large.qcow2', 'small.qcow2', 'b'],
                    ['--copy-to', 'small.qcow2', '--as', 'c', 'large.qcow2', 'b']):
        work.qcbm_refused('bitmap', '--grown', *options, says=['become smaller'], unchanged=['small.qcow2'])
    work.qcbm('bitmap', '--export', 'large.file', 'large.qcow2', 'b')
    work.qcbm_refused('bitmap', '--grown', '--import', 'large.file', '--force', 'small.qcow2', 'c', says=['2097152'])
    # the fingerprint is that of the disk as it was
    work.qcbm('bitmap', '--export', 'small.file', 'small.qcow2', 'b')
    told = json.loads(work.qcbm('bitmap', '--grown', '--import', 'small.file', '--output=json', 'large.qcow2', 'c').out)
    require_equal(told['results'][0]['fingerprint'], 'equal', 'fingerprint')
    work.io('large.qcow2', 'write -P 2 0 512')
    work.qcbm_refused('bitmap', '--grown', '--import', 'small.file', 'large.qcow2', 'd', says=['another disk'])
    # forms that do not say how large the disk was
    for form in 'raw', 'json':
        work.qcbm('bitmap', '--export', form, '--format', form, 'small.qcow2', 'b')
        work.qcbm_refused('bitmap', '--grown', '--import', form, '--format', form, '-g', '64k', 'large.qcow2', 'd',
                          says=['how large'], unchanged=['large.qcow2'])


# ---- random chains ----------------------------------------------------------------------------------------------

def some_writes(work, rng, image, size):
    for _ in range(rng.randint(0, 4)):
        start = rng.randrange(0, size - 511) // 512 * 512
        work.io(image, '%s %d %d' % (rng.choice(['write -P %d' % rng.randint(2, 200), 'write -z', 'discard']), start,
                                     min(rng.choice([512, 4096, 70 * KiB]), (size - start) // 512 * 512)))


def some_size(rng):
    return rng.choice([MiB, MiB + 512, 3 * MiB, 2 * MiB + 8704])


def random_chain(work, rng):
    """Images with C and their sizes from the top down, the granularity of the top, and the disk when C began."""
    size = some_size(rng)
    work.create('l0.qcow2', size)
    some_writes(work, rng, 'l0.qcow2', size)
    images, sizes = ['l0.qcow2'], [size]
    if rng.random() < 0.5:
        size = some_size(rng)
        work.create('l00.qcow2', size, '', 'l0.qcow2')  # C begins above l0
        images, sizes = ['l00.qcow2'], [size]
    work.run('qemu-img', 'convert', '-O', 'raw', images[0], 'at-C.raw')
    granularity = rng.choice([512, 4096, 65536, 1 << 20])
    add(work, images[0], 'C', granularity)
    some_writes(work, rng, images[0], size)
    for n in range(1, rng.randint(1, 4)):
        size, granularity = rng.choice([size, some_size(rng)]), rng.choice([512, 4096, 65536, 1 << 20])
        work.create('l%d.qcow2' % n, size, 'cluster_size=%s' % rng.choice(['4k', '64k']), images[0])
        add(work, 'l%d.qcow2' % n, 'C', granularity)
        some_writes(work, rng, 'l%d.qcow2' % n, size)
        images, sizes = ['l%d.qcow2' % n] + images, [size] + sizes
    return images, sizes, granularity


def case_random(work, seed):
    rng = random.Random(seed)
    images, sizes, granularity = random_chain(work, rng)
    expected = collected(work, images, sizes, granularity)
    told = collect(work, images[0], '--as', 'N')
    require_equal(served_dirty(work, images[0], ['N'])['N'], expected, 'what qemu-nbd serves')
    require_equal(told['dirty-bytes'], sum(end - start for start, end in expected), 'dirty bytes')
    os.truncate(work.path('at-C.raw'), sizes[0])
    differing = differing_ranges(work.path('at-C.raw'), raw(work, images[0], 'now.raw', sizes[0]), sizes[0])
    require_equal(ranges_minus(differing, expected, sizes[0]), [], 'bytes changed since C that are not in the result')
    work.check(images[0])
    if len(images) > 1 and sizes[-1] >= sizes[0]:
        whole = [alone(work, image, 'C')[0] + tail(size, sizes[-1]) for image, size in zip(images, sizes)]
        base = work.info_bitmaps(images[-1])['C'][0]
        require_equal(commit_into(work, images[-1], images[0])['C'], ('merged', None, None), 'outcome')
        require_equal(alone(work, images[-1], 'C')[0],
                      ranges_outward(ranges_clip(ranges_or(*whole), sizes[-1]), base, sizes[-1]), 'committed')


CASES = [
    (case_collect, 'collect', {'into': None}),
    (case_collect, 'collect-as', {'into': 'N'}),
    (case_begins_below, 'begins below', {}),
    (case_live, 'live', {}),
    (case_disabled, 'disabled', {}),
    (case_commit, 'commit', {}),
    (case_commit_refused, 'commit-refused', {}),
    (case_prune, 'prune', {}),
    (case_grown, 'grown', {'small': MiB, 'large': 2 * MiB + 512, 'granularity': 64 * KiB, 'own': 4096}),
    (case_grown, 'grown-cut-granule', {'small': MiB + 512, 'large': 2 * MiB, 'granularity': 4096, 'own': 64 * KiB}),
    (case_grown, 'grown-equal', {'small': MiB, 'large': MiB, 'granularity': 512, 'own': MiB}),
    (case_grown_refused, 'grown-refused', {}),
] + [(case_refused, 'refused-' + what, {'what': what})
     for what in ('gap', 'top-lacks', 'in-use', 'top-in-use', 'damaged', 'stale', 'no-layer')]


def main():
    args = arguments('qcbm bitmap along chains, against the real qemu tools')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = CASES + [(case_random, 'random-%d' % k, {'seed': args.seed * 1013 + k})
                     for k in range(200 if args.full else 6)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
