#!/usr/bin/env python3
# bitmap_verbs.py - `qcbm bitmap` against `qemu-img bitmap` on a copy: same bitmaps, same messages, sound images
#
# SPDX-License-Identifier: MIT

import itertools
import json
import os
import random
import re
import subprocess

import qtool
from qtool import (EXT_BITMAPS, GiB, KiB, MiB, TiB, Qcow2, arguments, assemble_first_cluster, clear_feature_bits,
                   copy_sparse, default_granularity, digest, need_tools, patch, ranges_clip, ranges_norm, require,
                   require_equal, require_kept, rewrite_first_cluster, run_cases, served_dirty, set_feature_bits)

IMAGE, TWIN = 'image.qcow2', 'twin.qcow2'


def bitmap(work, *args, tool='qemu-img', rc=0):
    if tool == 'qcbm':
        return work.qcbm('bitmap', *args, rc=rc)
    return work.run('qemu-img', 'bitmap', *args, rc=rc)


def state(work, image):
    """name -> (granularity, flags, dirty ranges), as the qemu tools see it, in the order of the directory."""
    order = [b.name.decode() for b in Qcow2(work.path(image)).bitmaps()]
    info = work.info_bitmaps(image)
    require_equal(sorted(info), sorted(order), 'names by qemu-img info and in the directory')
    usable = [name for name in order if 'in-use' not in info[name][1]]
    dirty = served_dirty(work, image, usable)
    return [(name, info[name], dirty.get(name)) for name in order]


def twin(work):
    work.note('cp %s %s' % (IMAGE, TWIN))
    copy_sparse(work.path(IMAGE), work.path(TWIN))


def both(work, *args, name='b', extra=()):
    """The same command to qcbm on the image and to qemu-img on its copy."""
    before = Qcow2(work.path(IMAGE))
    kept = before.kept_state()
    touched = {b.name: before.bitmap_content(b) for b in before.bitmaps()}
    bitmap(work, *args, *extra, IMAGE, name, tool='qcbm')
    bitmap(work, *args, *extra, TWIN, name)
    work.check(IMAGE)
    require_equal(state(work, IMAGE), state(work, TWIN), 'bitmaps by qcbm and by qemu-img')
    after = Qcow2(work.path(IMAGE))
    require_kept(kept, after.kept_state(), 'qcbm bitmap')
    for b in after.bitmaps():
        if b.name != name.encode():
            require_equal(after.bitmap_content(b), touched[b.name], 'bitmap %r, which was not named' % b.name)
        else:
            after.bitmap_is_thrifty(b) if not b.in_use else None


# ---- one operation after the other --------------------------------------------------------------------------------

def fresh(work, size=MiB, options='', backing=None, commands=('write -P 3 256k 4k',)):
    if backing:
        work.create(backing, size)
    work.create(IMAGE, size, options, backing)
    if commands:
        work.io(IMAGE, *commands)


def case_each_verb(work, options, backing):
    fresh(work, 3 * MiB + 512, options, backing)
    twin(work)
    both(work, '--add')
    both(work, '--add', '-g', '512', name='fine')
    both(work, '--add', '-g', '1M', name='coarse')
    for image in (IMAGE, TWIN):
        work.io(image, 'write -P 5 1000k 5k', 'write -P 5 0 512', 'write -P 5 %d 512' % (3 * MiB))
    # qemu wrote all of them; from here qcbm must leave alone what is not named
    both(work, '--disable')
    both(work, '--enable')
    both(work, '--disable', name='fine')
    for image in (IMAGE, TWIN):
        work.io(image, 'write -P 6 2M 1k')
    both(work, '--merge', 'fine', name='coarse')
    both(work, '--merge', 'coarse', name='fine')
    both(work, '--merge', 'b', name='b')
    both(work, '--clear')
    both(work, '--merge', 'coarse')
    both(work, '--remove', name='fine')
    both(work, '--remove', name='b')
    both(work, '--remove', name='coarse')
    require_equal(Qcow2(work.path(IMAGE)).nb_bitmaps, 0, 'after the last was removed')
    require_equal(Qcow2(work.path(IMAGE)).autoclear & 1, 0, 'autoclear bit after the last was removed')
    require(Qcow2(work.path(IMAGE)).extension(EXT_BITMAPS) is None, 'the extension is still there')
    both(work, '--add', name='again')


COMBINATIONS = [
    ['--add', '--disable'],
    ['--add', '-g', '4k', '--disable', '--enable'],
    ['--remove', '--add', '-g', '4k', '--disable'],
    ['--clear', '--merge', 'other'],
    ['--merge', 'other', '--clear'],
    ['--disable', '--merge', 'other', '--enable'],
    ['--merge', 'other', '--merge', 'other', '--disable'],
    ['--remove', '--add', '--merge', 'other', '--remove', '--add', '-g', '32k', '--merge', 'other'],
    ['--clear', '--clear', '--enable', '--enable'],
    ['--remove'],
]


def case_combination(work, index):
    fresh(work, 2 * MiB)
    actions = COMBINATIONS[index]
    if '--add' not in actions[:1]:
        bitmap(work, '--add', '-g', '16k', IMAGE, 'b')
    bitmap(work, '--add', '-g', '512', IMAGE, 'other')
    work.io(IMAGE, 'write -P 4 700k 3k')
    twin(work)
    both(work, *actions)


def case_merge_from_file(work, granularity, source_granularity):
    fresh(work, 2 * MiB + 512)
    bitmap(work, '--add', '-g', granularity, IMAGE, 'b')
    work.io(IMAGE, 'write -P 4 700k 3k')
    work.create('source.qcow2', 2 * MiB + 512, 'cluster_size=4k')
    bitmap(work, '--add', '-g', source_granularity, 'source.qcow2', 'src')
    bitmap(work, '--add', '-g', source_granularity, 'source.qcow2', 'b')
    work.io('source.qcow2', 'write -P 4 100k 512', 'write -P 4 1500k 70k', 'write -P 4 2M 512')
    twin(work)
    was = digest(work.path('source.qcow2'))
    both(work, '--merge', 'src', extra=['-b', 'source.qcow2'])
    both(work, '--merge', 'b', extra=['-b', 'source.qcow2', '-F', 'qcow2'])
    both(work, '--add', '--merge', 'src', '-g', '8k', extra=['--source-file', 'source.qcow2'], name='new')
    # qemu-img marks bitmaps of a source that it opens read-only neither: the file may not change at all
    require(digest(work.path('source.qcow2')) == was, 'the source was written')


def case_same_messages(work):
    """Where qemu-img refuses, qcbm refuses with its words, and changes nothing."""
    fresh(work)
    bitmap(work, '--add', IMAGE, 'b')
    bitmap(work, '--add', IMAGE, 'used')
    entry = Qcow2(work.path(IMAGE)).bitmap('used')
    work.note('# by hand: IN_USE in the entry of used')
    patch(work.path(IMAGE), entry.entry_offset + 12, (entry.flags | 1).to_bytes(4, 'big'))
    work.create('large.qcow2', 4 * MiB)
    bitmap(work, '--add', 'large.qcow2', 'big')
    trials = [
        (['--add'], 'b'), (['--add'], 'used'), (['--add'], 'n' * 1024), (['--add'], ''),
        (['--add', '-g', '256'], 'x'), (['--add', '-g', '3000'], 'x'), (['--remove'], 'x'), (['--clear'], 'x'),
        (['--enable'], 'x'), (['--disable'], 'x'), (['--merge', 'b'], 'x'), (['--merge', 'x'], 'b'),
        (['--clear'], 'used'), (['--enable'], 'used'), (['--disable'], 'used'), (['--merge', 'used'], 'b'),
        (['--merge', 'b'], 'used'), (['--merge', 'big', '-b', 'large.qcow2'], 'b'),
        (['--merge', 'none', '-b', 'large.qcow2'], 'b'), (['--merge', 'b', '-b', 'missing.qcow2'], 'b'),
    ]
    for args, name in trials:
        twin(work)
        theirs = bitmap(work, *args, TWIN, name, rc=1)
        ours = work.qcbm_refused('bitmap', *args, IMAGE, name, file=None, unchanged=[IMAGE])
        wanted = re.search(r'failed: (.*)', theirs.err.split('\n')[0]) or re.search(r': (.*)', theirs.err.split('\n')[0])
        # the name of a block node is qemu's own affair
        text = re.sub(r"Can't make bitmap '.*' persistent in '.*': ", '', wanted.group(1))
        if 'No such file' in text:
            text = text.split(': ')[-1]  # qemu-img says twice what it could not open
        require(text in ours.err, 'qemu-img says: %s\n  qcbm says: %s' % (theirs.err, ours.err))
    for args in (['b'], ['--add'], ['--add', '-g', '4G', IMAGE, 'x'], ['--clear', '-g', '4k', IMAGE, 'b'],
                 ['--add', '-b', IMAGE, IMAGE, 'x'], ['--merge', 'b', '-F', 'qcow2', IMAGE, 'b'], [IMAGE, 'b'],
                 ['--nonsense', IMAGE, 'b']):
        was = digest(work.path(IMAGE))
        ours = bitmap(work, *args, tool='qcbm', rc=1)
        require(ours.out == '' and ours.err != '', 'usage error: %r %r' % (ours.out, ours.err))
        require(digest(work.path(IMAGE)) == was, 'a usage error changed the image')


def case_all_or_nothing(work):
    """Unlike qemu-img: if one action fails, none is done."""
    fresh(work)
    bitmap(work, '--add', IMAGE, 'b')
    work.io(IMAGE, 'write 0 4k')
    for args, name in ((['--clear', '--disable', '--merge', 'missing'], 'b'), (['--add', '--merge', 'missing'], 'new'),
                       (['--remove', '--clear'], 'b'), (['--clear', '--add'], 'b'),
                       (['--disable', '--merge', 'x', '-b', 'missing.qcow2'], 'b')):
        work.qcbm_refused('bitmap', *args, IMAGE, name, unchanged=[IMAGE])


def case_remove_in_use(work):
    """Of an inconsistent bitmap qemu-img allows removal only; the others stay as they are."""
    fresh(work)
    bitmap(work, '--add', IMAGE, 'b')
    bitmap(work, '--add', '-g', '512', IMAGE, 'other')
    work.io(IMAGE, 'write 100k 4k')
    entry = Qcow2(work.path(IMAGE)).bitmap('b')
    work.note('# by hand: IN_USE in the entry of b')
    patch(work.path(IMAGE), entry.entry_offset + 12, (entry.flags | 1).to_bytes(4, 'big'))
    twin(work)
    both(work, '--disable', name='other')
    both(work, '--remove')


def case_dry_run(work):
    fresh(work)
    bitmap(work, '--add', IMAGE, 'b')
    was = digest(work.path(IMAGE))
    for args, name in ((['--add'], 'x'), (['--remove'], 'b'), (['--disable'], 'b'),
                       (['--clear', '--merge', 'b', '--disable'], 'b')):
        text = work.qcbm('bitmap', '--dry-run', *args, IMAGE, name).out
        require(text, 'a dry run says nothing')
        data = json.loads(work.qcbm('bitmap', '--dry-run', '--output=json', *args, IMAGE, name).out)
        require(data['steps'] and data['plan'], 'JSON of a dry run: %r' % data)
        require(digest(work.path(IMAGE)) == was, 'a dry run wrote')


def case_list(work):
    fresh(work, 2 * MiB)
    bitmap(work, '--add', IMAGE, 'b')
    bitmap(work, '--add', '-g', '512', IMAGE, 'größe\n\x1b[1m')
    work.io(IMAGE, 'write 100k 4k')
    bitmap(work, '--disable', IMAGE, 'b')
    was = digest(work.path(IMAGE))
    data = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    text = work.qcbm('bitmap', '--list', IMAGE).out
    require('\x1b' not in text and len(text.split('\n')) >= 3, 'names must be escaped: %r' % text)
    shown = [(b['name'], b['granularity'], b['consistent'], b['enabled'], b['dirty-bytes'], b['granules'])
             for b in data['bitmaps']]
    require_equal(shown, [('b', 65536, True, False, 65536, 32), ('größe\n\x1b[1m', 512, True, True, 4096, 4096)], 'list')
    # by design 64 KiB clusters: one of table, one of data
    require_equal([b['disk-bytes'] for b in data['bitmaps']], [2 * 65536, 2 * 65536], 'space taken')
    work.create('none.qcow2', MiB)
    require_equal(json.loads(work.qcbm('bitmap', '--list', '--output=json', 'none.qcow2').out)['bitmaps'], [], 'no bitmap')
    require(digest(work.path(IMAGE)) == was, '--list wrote')


# ---- refused images -----------------------------------------------------------------------------------------------

def case_version_2(work):
    work.create(IMAGE, MiB, 'compat=0.10')
    for command in (['synth'], ['bitmap', '--add']):
        work.qcbm_refused(*command, IMAGE, 'b', says=[r'qemu-img amend -o compat=1\.1'], file=IMAGE, unchanged=[IMAGE])
    # and that command is the cure
    work.run('qemu-img', 'amend', '-f', 'qcow2', '-o', 'compat=1.1', IMAGE)
    work.qcbm('bitmap', '--add', IMAGE, 'b')
    work.check(IMAGE)


def case_feature_bit(work, word, bits, says, readable):
    """Bits that forbid writing. Reading goes on where the format allows it."""
    fresh(work)
    bitmap(work, '--add', IMAGE, 'b')
    work.io(IMAGE, 'write 0 4k')
    work.note('# by hand: %s bits %#x' % (word, bits))
    set_feature_bits(work.path(IMAGE), word, bits)
    for command in (['synth', IMAGE, 'new'], ['bitmap', '--add', IMAGE, 'new'], ['bitmap', '--disable', IMAGE, 'b'],
                    ['bitmap', '--remove', IMAGE, 'b'], ['synth', '--replace', IMAGE, 'b']):
        work.qcbm_refused(*command, says=[says], file=IMAGE, unchanged=[IMAGE])
    for command in (['extents', IMAGE, 'b'], ['bitmap', '--list', IMAGE], ['info', IMAGE]):
        was = digest(work.path(IMAGE))
        work.qcbm(*command, rc=0 if readable else 1)
        require(digest(work.path(IMAGE)) == was, 'reading wrote')


def case_stale(work, backing):
    """autoclear bit 0 is clear: qemu has dropped those bitmaps in its mind. They are listed, and go with the next change;
    what is theirs is freed with them."""
    fresh(work, backing=backing)
    bitmap(work, '--add', IMAGE, 'old')
    bitmap(work, '--add', IMAGE, 'older')
    work.io(IMAGE, 'write 0 4k')
    work.note('# by hand: autoclear bit 0 cleared')
    clear_feature_bits(work.path(IMAGE), 'autoclear', 1)
    data = json.loads(work.qcbm('bitmap', '--list', '--output=json', IMAGE).out)
    require(data['stale'] is True, 'the list does not say that the bitmaps are stale')
    require_equal([(b['name'], b['stale'], b['consistent'], b['dirty-bytes']) for b in data['bitmaps']],
                  [('old', True, False, None), ('older', True, False, None)], 'the stale bitmaps')
    work.qcbm('extents', IMAGE, 'old', rc=1)
    leaks = json.loads(work.run('qemu-img', 'check', '-f', 'qcow2', '--output=json', IMAGE, rc=3).out)['leaks']
    require(leaks >= 4, 'directory, two tables, data: %d' % leaks)
    told = work.qcbm('bitmap', '--add', IMAGE, 'new').err
    require("'old', 'older' are dropped" in told, 'not told: ' + told)
    work.check(IMAGE)
    require_equal(list(work.info_bitmaps(IMAGE)), ['new'], 'bitmaps')
    work.io(IMAGE, 'write 512k 4k')
    work.check(IMAGE)
    require_equal(served_dirty(work, IMAGE, ['new'])['new'], [(512 * KiB, 576 * KiB)], 'dirty')


# ---- the first bitmap, in all layouts of the first cluster ----------------------------------------------------------

def first_bitmap(work, may_refuse=False):
    """Add the first bitmap; remove it; add two; remove one. The backing name, foreign extensions and all else stay."""
    image = Qcow2(work.path(IMAGE))
    kept = image.kept_state()
    if may_refuse:
        result = work.qcbm('bitmap', '--add', IMAGE, 'b', rc=None)
        if result.code != 0:
            require(result.code == 1 and 'room' in result.err, 'refused, but not for lack of room: ' + result.err)
            return False
    else:
        work.qcbm('bitmap', '--add', IMAGE, 'b')
    after_step(work, kept, ['b'])
    work.qcbm('bitmap', '--remove', IMAGE, 'b')
    after_step(work, kept, [])
    work.qcbm('synth', IMAGE, 'b')
    after_step(work, kept, ['b'])
    work.qcbm('bitmap', '--add', '-g', '4k', IMAGE, 'c')
    after_step(work, kept, ['b', 'c'])
    work.qcbm('bitmap', '--remove', IMAGE, 'b')
    after_step(work, kept, ['c'])
    work.qcbm('bitmap', '--remove', IMAGE, 'c')
    after_step(work, kept, [])
    # qemu packs the header again when it opens the image; after that once more
    work.qcbm('bitmap', '--add', IMAGE, 'b')
    after_step(work, kept, ['b'])
    work.io(IMAGE, 'write -P 9 0 512')
    work.check(IMAGE)
    require_equal(list(work.info_bitmaps(IMAGE)), ['b'], 'after qemu opened it r/w')
    work.qcbm('bitmap', '--disable', IMAGE, 'b')
    work.check(IMAGE)
    require_equal(work.info_bitmaps(IMAGE)['b'][1], [], 'flags')
    return True


def after_step(work, kept, names):
    if work.some([True, False, False], 1)[0]:
        work.check(IMAGE)
    image = Qcow2(work.path(IMAGE))
    require_kept(kept, image.kept_state(), 'the command')
    info = work.asked('info', IMAGE) or work.info(IMAGE)
    require_equal(list(qtool.bitmaps_of(info)), names, 'bitmaps')
    require_equal(info.get('backing-filename', ''), image.backing.decode(), 'backing name as qemu reads it')


def case_first_no_backing(work, cluster):
    fresh(work, options='cluster_size=%d' % cluster)
    first_bitmap(work)


def backing_name(length):
    """A relative name of that length, all of its folders existing."""
    parts = []
    while length > 255:
        take = min(200, length - 2)
        parts.append('d' * take)
        length -= take + 1
    parts.append('n' * length)
    return '/'.join(parts)


def case_first_backing(work, cluster, length):
    name = backing_name(length)
    require_equal(len(name), length, 'the test is wrong: length')
    os.makedirs(os.path.dirname(work.path(name)), exist_ok=True)
    work.create(name, MiB)
    work.create(IMAGE, MiB, 'cluster_size=%d' % cluster, name)
    work.io(IMAGE, 'write -P 3 256k 4k')
    # header 112, backing format 16, bitmaps 32, END 8, name; feature table 392 above 4 KiB
    fixed = 112 + 16 + 32 + 8 + (392 if cluster > 4 * KiB else 0)
    if cluster > 4 * KiB:
        first_bitmap(work)
        return
    # small clusters: no bitmap where there is no room at all; where name, extension and a copy of the name fit, there must be
    if fixed + length > cluster:
        work.qcbm_refused('bitmap', '--add', IMAGE, 'b', says=['room'], file=IMAGE, unchanged=[IMAGE])
        work.qcbm_refused('synth', IMAGE, 'b', says=['room'], file=IMAGE, unchanged=[IMAGE])
        return
    must = fixed + length <= 512 or fixed + 2 * length + 512 <= cluster
    was = digest(work.path(IMAGE))
    done = first_bitmap(work, may_refuse=True)
    require(done or not must, 'refused, though there is room (cluster %d, name of %d)' % (cluster, length))
    if not done:
        require(digest(work.path(IMAGE)) == was, 'refused, but the image changed')


def case_first_data_file(work, length, cluster):
    """The data file's name moves the extension: at some lengths the payload straddles a sector."""
    name = 'x' * 200 + '/' + 'y' * 200 + '/'
    name += 'z' * (length - len(name))
    os.makedirs(work.path(os.path.dirname(name)))
    work.create(IMAGE, MiB, 'cluster_size=%d,data_file=%s' % (cluster, name))
    work.io(IMAGE, 'write -P 3 256k 4k')
    require_equal(len(Qcow2(work.path(IMAGE)).extension(qtool.EXT_DATA_FILE)), length, 'the test is wrong: length')
    first_bitmap(work)


FOREIGN = [(0x51636261, b''), (0x51636262, b'1'), (0x51636263, bytes(range(1, 17))), (0x51636264, b'f' * 360),
           (0x51636265, b'g' * 500), (0x51636266, b'h' * 2000)]


def case_first_foreign(work, cluster, backing, seed):
    """Foreign extensions in front of, between and behind the known ones, with and without a gap before the name."""
    rng = random.Random(seed)
    if backing:
        work.create(backing, MiB)
    work.create(IMAGE, MiB, 'cluster_size=%d' % cluster, backing)
    work.io(IMAGE, 'write -P 3 256k 4k')
    path = work.path(IMAGE)
    image = Qcow2(path)
    room = cluster - 32 - (len(image.backing) if backing else 0) - 64
    extensions = list(image.extensions)
    for _ in range(rng.randrange(1, 5)):
        one = rng.choice(FOREIGN)
        trial = list(extensions)
        trial.insert(rng.randrange(len(trial) + 1), one)
        size = sum(8 + ((len(data) + 7) & ~7) for _, data in trial)
        if len({k for k, _ in trial}) == len(trial) and image.header_length + size + 8 <= room:
            extensions = trial
    header = image.header
    if rng.random() < 0.3:
        header = bytearray(header[:104])
        header[100:104] = (104).to_bytes(4, 'big')
    used = len(assemble_first_cluster(image, header, extensions, image.backing)[0])
    gap = rng.choice([0, 0, 8, 100, 600]) if backing else 0
    gap = gap if used + gap + 64 <= cluster else 0
    work.note('# by hand: first cluster with extensions %s, header of %d, gap of %d before the name'
              % ([(hex(k), len(d)) for k, d in extensions], len(header), gap))
    rewrite_first_cluster(path, extensions, header=bytes(header), gap=gap)
    work.check(IMAGE)
    was = digest(path)
    # above 4 KiB there is always room; below, a name may be in the way of its own copy
    done = first_bitmap(work, may_refuse=cluster <= 4 * KiB)
    require(done or digest(path) == was, 'refused, but the image changed')


def case_foreign_behind_the_bitmaps(work, cluster, backing):
    """qemu's order has unknown extensions behind the one for bitmaps: removing and adding must not move them."""
    if backing:
        work.create(backing, MiB)
    work.create(IMAGE, MiB, 'cluster_size=%d' % cluster, backing)
    path = work.path(IMAGE)
    bitmap(work, '--add', IMAGE, 'old')
    rewrite_first_cluster(path, Qcow2(path).extensions + [(0x51636261, b'behind the bitmaps')])
    work.io(IMAGE, 'write -P 3 256k 4k')
    image = Qcow2(path)
    kinds = [k for k, _ in image.extensions]
    require(kinds.index(EXT_BITMAPS) < kinds.index(0x51636261), 'the test is wrong: order %r' % kinds)
    kept = image.kept_state()
    work.qcbm('bitmap', '--add', IMAGE, 'b')
    after_step(work, kept, ['old', 'b'])
    work.qcbm('bitmap', '--remove', IMAGE, 'old')
    after_step(work, kept, ['b'])
    work.qcbm('bitmap', '--remove', IMAGE, 'b')
    after_step(work, kept, [])
    work.qcbm('synth', IMAGE, 'b')
    after_step(work, kept, ['b'])


def case_no_room(work):
    """The first cluster is full: refused before anything is touched."""
    for cluster, backing in ((512, None), (512, 'base'), (4096, 'base'), (65536, 'base'), (65536, None)):
        if backing and not os.path.exists(work.path(backing)):
            work.create(backing, MiB)
        if os.path.exists(work.path(IMAGE)):
            os.unlink(work.path(IMAGE))
        work.create(IMAGE, MiB, 'cluster_size=%d' % cluster, backing)
        image = Qcow2(work.path(IMAGE))
        used = len(assemble_first_cluster(image, image.header, image.extensions, image.backing)[0])
        for left in (0, 8, 16, 24):  # the extension takes 32
            fill = (cluster - used - 8) // 8 * 8 - left
            work.note('# by hand: foreign extension of %d bytes, %d left' % (fill, left))
            rewrite_first_cluster(work.path(IMAGE), image.extensions + [(0x51636261, b'f' * fill)])
            work.check(IMAGE)
            work.qcbm_refused('bitmap', '--add', IMAGE, 'b', says=['room'], file=IMAGE, unchanged=[IMAGE])
            work.qcbm_refused('synth', IMAGE, 'b', says=['room'], file=IMAGE, unchanged=[IMAGE])
            rewrite_first_cluster(work.path(IMAGE), image.extensions)


# ---- cost of a small change -----------------------------------------------------------------------------------------

def strace_totals(work, *argv):
    """(bytes written, flushes) of a run of the tool, by strace."""
    out = work.path('strace.out')
    work.note('strace -f -e trace=pwrite64,write,pwritev,pwritev2,writev,fsync,fdatasync qcbm ' + ' '.join(argv))
    done = subprocess.run(['strace', '-f', '-o', out, '-e', 'trace=pwrite64,write,pwritev,pwritev2,writev,fdatasync,'
                           'fsync,sync_file_range,msync,copy_file_range,sendfile,io_uring_enter,io_submit',
                           qtool.QCBM, *argv], cwd=work.dir, env=qtool.strace_environment(), capture_output=True, text=True)
    require(done.returncode == 0, 'under strace: exit %d: %s' % (done.returncode, done.stderr))
    written = flushes = 0
    with open(out) as f:
        for line in f:
            call = re.search(r'(\w+)\((\d+).*= (\d+)', line)
            if call is None:
                continue
            name, fd, value = call.group(1), int(call.group(2)), int(call.group(3))
            if name in ('fdatasync', 'fsync'):
                flushes += 1
            elif fd > 2:
                written += value
            require(name not in ('msync', 'io_uring_enter', 'io_submit', 'copy_file_range', 'sendfile'),
                    'the test does not count ' + name)
    return written, flushes


def case_small_change_is_cheap(work):
    """One flag in an image with eight bitmaps of 4 MiB each: at most 64 KiB written, at most 3 flushes."""
    size = 2 * TiB
    work.create(IMAGE, size)
    # every 32 GiB, the reach of one data cluster: no cluster of bits is uniform
    commands = ['write -z %d 1M' % (k * 32 * GiB + 5 * MiB) for k in range(64)]
    work.io(IMAGE, *commands)
    for k in range(8):
        work.qcbm('synth', IMAGE, 'b%d' % k)
    image = Qcow2(work.path(IMAGE))
    for b in image.bitmaps():
        require_equal(len([e for e in b.table if e > 1]), 64, 'the test is wrong: data clusters of 64 KiB')
    before = {b.name: image.bitmap_content(b) for b in image.bitmaps()}
    for action, name in (('--disable', 'b3'), ('--enable', 'b3'), ('--disable', 'b0'), ('--disable', 'b7')):
        written, flushes = strace_totals(work, 'bitmap', action, IMAGE, name)
        require(0 < written <= 64 * KiB, '%s %s: %d bytes written' % (action, name, written))
        require(0 < flushes <= 3, '%s %s: %d flushes' % (action, name, flushes))
    image = Qcow2(work.path(IMAGE))
    for b in image.bitmaps():
        _, table, data = before[b.name]
        require_equal((b.table, image.bitmap_content(b)[2]), (table, data), 'table and data of %r' % b.name)
        require_equal(b.flags, 0 if b.name in (b'b0', b'b7') else 2, 'flags of %r' % b.name)
    work.check(IMAGE)


# ---- random sequences against a model ----------------------------------------------------------------------------------

class Model:
    """Bitmaps as arrays of bits."""

    def __init__(self, size, cluster):
        self.size, self.cluster, self.bitmaps = size, cluster, {}

    def bits(self, g):
        return [False] * -(-self.size // g)

    def add(self, name, g):
        if name in self.bitmaps:
            return False
        g = g or default_granularity(self.cluster)
        self.bitmaps[name] = [g, True, self.bits(g)]
        return True

    def remove(self, name):
        return self.bitmaps.pop(name, None) is not None

    def clear(self, name):
        if name not in self.bitmaps:
            return False
        self.bitmaps[name][2] = self.bits(self.bitmaps[name][0])
        return True

    def enable(self, name, on):
        if name not in self.bitmaps:
            return False
        self.bitmaps[name][1] = on
        return True

    def merge(self, name, source):
        if name not in self.bitmaps or source is None:
            return False
        g, _, bits = self.bitmaps[name]
        source_g, _, source_bits = source
        for k, bit in enumerate(source_bits):
            if bit:
                end = min((k + 1) * source_g, self.size)
                for j in range(k * source_g // g, -(-end // g)):
                    bits[j] = True
        return True

    def write(self, start, length):
        for g, enabled, bits in self.bitmaps.values():
            if enabled:
                for k in range(start // g, -(-(start + length) // g)):
                    bits[k] = True

    def ranges(self, name):
        g, _, bits = self.bitmaps[name]
        return ranges_clip(ranges_norm([(k * g, (k + 1) * g) for k, bit in enumerate(bits) if bit]), self.size)

    def copy(self):
        other = Model(self.size, self.cluster)
        other.bitmaps = {name: [g, on, list(bits)] for name, (g, on, bits) in self.bitmaps.items()}
        return other


def case_random_sequence(work, seed):
    rng = random.Random(seed)
    size = rng.choice([MiB, MiB + 512, 3 * MiB + 7 * 512])
    cluster = rng.choice([512, 4 * KiB, 64 * KiB])
    refcount = rng.choice([1, 2, 4, 8, 16, 32, 64])
    backing = None
    if rng.random() < 0.5:
        backing = 'base.qcow2'
        work.create(backing, size)
    work.create(IMAGE, size, 'cluster_size=%d,refcount_bits=%d' % (cluster, refcount), backing)
    work.create('source.qcow2', size)
    other = Model(size, 64 * KiB)
    for name, g in (('s', 512), ('t', 128 * KiB)):
        bitmap(work, '--add', '-g', g, 'source.qcow2', name)
        other.add(name, g)
        start = rng.randrange(size // 512) * 512
        length = min(rng.choice([512, 5000 // 512 * 512, 200 * KiB]), size - start)
        work.io('source.qcow2', 'write %d %d' % (start, length))
        other.write(start, length)
    model = Model(size, cluster)
    names = ['a', 'b', 'c' * 100]
    for _ in range(rng.randrange(3, 9)):
        if rng.random() < 0.3:
            start = rng.randrange(size // 512) * 512
            length = min(rng.choice([512, 4096, 70000 // 512 * 512, MiB]), size - start)
            work.io(IMAGE, 'write -P 5 %d %d' % (start, length))
            model.write(start, length)
            work.check(IMAGE)
        name = rng.choice(names)
        trial, args, fine = model.copy(), [], True
        g = rng.choice([None, 512, 4096, 32 * KiB, MiB])
        from_file = rng.random() < 0.4
        for _ in range(rng.randrange(1, 9)):
            verb = rng.choice(['add', 'add', 'remove', 'clear', 'enable', 'disable', 'merge', 'merge', 'merge'])
            exists = name in trial.bitmaps
            if rng.random() < 0.93:  # mostly sequences that succeed
                if not exists:
                    verb = 'add'
                elif verb == 'add':
                    verb = 'merge'
            args.append('--' + verb)
            if verb == 'add':
                fine = fine and trial.add(name, g)
            elif verb == 'remove':
                fine = fine and trial.remove(name)
            elif verb == 'clear':
                fine = fine and trial.clear(name)
            elif verb in ('enable', 'disable'):
                fine = fine and trial.enable(name, verb == 'enable')
            else:
                source = rng.choice(['s', 't'] if from_file else names)
                args.append(source)
                have = other.bitmaps.get(source) if from_file else trial.bitmaps.get(source)
                fine = fine and trial.merge(name, have)
        if '--add' in args and g:
            args += ['-g', str(g)]
        if '--merge' in args and from_file:
            args += ['-b', 'source.qcow2']
        if fine:
            bitmap(work, *args, IMAGE, name, tool='qcbm')
            model = trial
        else:
            work.qcbm_refused('bitmap', *args, IMAGE, name, unchanged=[IMAGE])
        work.check(IMAGE)
        now = {n: (gran, flags, dirty) for n, (gran, flags), dirty in state(work, IMAGE)}
        expected = {n: (gran, ['auto'] if on else [], model.ranges(n)) for n, (gran, on, _) in model.bitmaps.items()}
        require_equal(now, expected, 'after qcbm bitmap %s %s' % (' '.join(args), name))


CASES = [
    (case_same_messages, 'same-messages', {}),
    (case_all_or_nothing, 'all-or-nothing', {}),
    (case_remove_in_use, 'remove-in-use', {}),
    (case_dry_run, 'dry-run', {}),
    (case_list, 'list', {}),
    (case_version_2, 'version-2', {}),
    (case_feature_bit, 'dirty-bit', {'word': 'incompatible', 'bits': 1, 'says': 'dirty', 'readable': True}),
    (case_feature_bit, 'corrupt-bit', {'word': 'incompatible', 'bits': 2, 'says': 'corrupt', 'readable': True}),
    (case_feature_bit, 'unknown-incompatible-bit',
     {'word': 'incompatible', 'bits': 1 << 41, 'says': 'incompatible', 'readable': False}),
    (case_stale, 'stale', {'backing': None}),
    (case_stale, 'stale-backing', {'backing': 'base.qcow2'}),
    (case_no_room, 'no-room', {}),
    (case_small_change_is_cheap, 'small-change-is-cheap', {}),
]
CASES += [(case_each_verb, 'each-verb:%s%s' % (options or 'default', ',backing' if backing else ''),
           {'options': options, 'backing': backing})
          for options, backing in (('', None), ('', 'base.qcow2'), ('cluster_size=512', None),
                                   ('cluster_size=512,refcount_bits=1', 'b'), ('cluster_size=4k,refcount_bits=64', 'base'),
                                   ('cluster_size=2M', 'base.qcow2'), ('extended_l2=on,cluster_size=16k', 'base.qcow2'),
                                   ('data_file=d.raw', None), ('data_file=d.raw,data_file_raw=on', None),
                                   ('lazy_refcounts=on', 'base.qcow2'))]
CASES += [(case_combination, 'combination-%d' % k, {'index': k}) for k in range(len(COMBINATIONS))]
CASES += [(case_merge_from_file, 'merge-from-file-%d-%d' % (a, b), {'granularity': a, 'source_granularity': b})
          for a, b in itertools.product((512, 64 * KiB, MiB), (512, 16 * KiB, 2 * MiB))]
CASES += [(case_first_no_backing, 'first-%d' % cluster, {'cluster': cluster})
          for cluster in (512, 1024, 2048, 4096, 8192, 65536, 2 * MiB)]
CASES += [(case_first_backing, 'first-%d-name-%d' % (cluster, length), {'cluster': cluster, 'length': length})
          for cluster in (512, 1024, 4096, 8192, 65536)
          for length in (1, 7, 8, 10, 100, 255, 300, 340, 344, 345, 350, 450, 480, 500, 512, 700, 1016, 1023)
          if 112 + 16 + 8 + length <= cluster]
CASES += [(case_first_data_file, 'first-data-file-%d-%d' % (cluster, length), {'cluster': cluster, 'length': length})
          for cluster in (65536, 4096) for length in range(470, 501)  # padded to eight bytes
          if length % 8 == 0 or cluster > 4096 and length % 3 == 0]
CASES += [(case_first_foreign, 'first-foreign-%d%s-%d' % (cluster, '-backing' if backing else '', k),
           {'cluster': cluster, 'backing': backing, 'seed': 7919 * k + cluster})
          for cluster in (512, 1024, 4096, 8192, 65536) for backing in (None, 'base.qcow2') for k in range(2)]
CASES += [(case_foreign_behind_the_bitmaps, 'foreign-behind-%d%s' % (cluster, '-backing' if backing else ''),
           {'cluster': cluster, 'backing': backing})
          for cluster in (512, 4096, 65536) for backing in (None, 'base.qcow2')]


def main():
    args = arguments('qcbm bitmap against qemu-img bitmap')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'strace')
    cases = list(CASES)
    for k in range(600 if args.full else 30):
        cases.append((case_random_sequence, 'sequence-%d' % k, {'seed': args.seed * 1013 + k}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
