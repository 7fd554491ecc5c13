#!/usr/bin/env python3
# check.py - "qcbm check" reports what "qemu-img check" reports, on sound, leaking and damaged images: text line for
# line, JSON field for field, exit codes; and what qemu-img does not see
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. Each damage is a few bytes written into an image that qemu-img made.

import json
import random
import re
import shlex
import struct

import older
import qtool
from qtool import KiB, MiB, Qcow2, patch, require, require_equal

OWN_FIELDS = ('damages', 'warnings', 'passes', 'findings', 'findings-left-out', 'summary', 'problems')
OWN_LINE = re.compile(r'^qcbm: (warning: |error: )\[([a-z0-9-]+)\] |^qcbm: (before) you repair anything: ')
GIVES_UP = re.compile(r'Image does not contain a reference count table|Too much extra metadata in snapshot table')
COPIED = 1 << 63


def u64(value):
    return struct.pack('>Q', value)


def u32(value):
    return struct.pack('>I', value)


def codes_in(err):
    return [m.group(2) for m in map(OWN_LINE.match, err.splitlines()) if m and m.group(2)]


def own_codes(result):
    return codes_in(result.err)


def theirs(text):
    """The lines that qemu-img prints too. It never says which program speaks when it talks about clusters."""
    return [line for line in text.splitlines() if not OWN_LINE.match(line)]


NO_HARM = 'This means waste of disk space, but no harm to data.'
UNLESS = ', unless a mapping table was lost.'
DO_NOT_FREE = 'They may be data that something damaged pointed to: do not free them.'


def said_of_leaks(text, our_out, our_err):
    """qemu-img's totals, in our words where leaks may be what a lost table mapped, or another damaged entry."""
    damage = [line for line in our_err.splitlines() if not line.startswith(('Leaked cluster ', 'qcbm: before you'))]
    if {'lost-table', 'lost-table-suspected'} & set(codes_in(our_err)) or damage and DO_NOT_FREE in our_out:
        return text.replace(NO_HARM, DO_NOT_FREE)
    return text.replace(NO_HARM, NO_HARM[:-1] + UNLESS) if UNLESS in our_out else text


def compare(work, name, *options, codes=None, same_text=True, other=None):
    """Both tools on one image. codes: what qcbm must say on its own, in any order; None: do not look. other: what qemu-img
    has said of it already."""
    ours = work.qcbm('check', '--all', *options, name, rc=None)
    what = shlex.join(['qemu-img', 'check', *options, name])
    other = other or work.run('qemu-img', 'check', *options, name, rc=None)
    if 'Could not open' in other.err and 'bitmap-directory-broken' in own_codes(ours):
        require_equal(ours.code, 2, what + ': exit code')
        return ours
    require_equal(ours.code, other.code, what + ': exit code\n' + ours.err)
    require_equal(ours.out, said_of_leaks(other.out, ours.out, ours.err), what + ': stdout')
    lines = other.err.replace('qemu-img: ', 'qcbm: ').splitlines()
    if same_text and 'table-overwritten' in own_codes(ours):
        rest = iter(lines)  # without those of the entries that make no sense
        require(all(line in rest for line in theirs(ours.err)), what + ': a line that qemu-img does not have')
    elif same_text:
        require_equal(theirs(ours.err), lines, what + ': stderr')
    if codes is not None:
        require_equal(sorted(set(own_codes(ours))), sorted(codes), what + ': what only qcbm finds')
    for question in work.some(['json', 'memory'], 1):
        if question == 'json':
            compare_json(work, name, options, what, ours.code)
        else:
            few = work.qcbm('check', '--all', '--memory=4k', *options, name, rc=ours.code)
            require_equal(sorted(few.err.splitlines()), sorted(ours.err.splitlines()), what + ': with little memory')
    if not options:
        compare_views(work, name)
    return ours


def compare_json(work, name, options, what, code):
    mine = work.qcbm('check', '--output=json', *options, name, rc=code)
    other = work.run('qemu-img', 'check', '--output=json', *options, name, rc=None)
    if other.out:
        fields = json.loads(mine.out)
        for field in OWN_FIELDS:
            fields.pop(field, None)
        require_equal(fields, json.loads(other.out), what + ': JSON')
    else:
        require_equal(mine.out, '', what + ': JSON')


def compare_views(work, name):
    """info, map and snapshot -l of the same image: text line for line, JSON field for field, exit codes. Where qemu-img
    does not open the image for the sake of a part that the command does not need, qcbm does."""
    for command in work.some([['info'], ['info', '--output=json'], ['map', '-f', 'qcow2'],
                              ['map', '-f', 'qcow2', '--output=json'], ['snapshot', '-l']], 2):
        ours = work.qcbm(*command, name, rc=None)
        other = work.run('qemu-img', *command, name, rc=None)
        what = work.log[-1]
        if other.code and GIVES_UP.search(other.err) and ours.code == 0:
            continue
        if re.search('snapshot table .*(lies past the end|passes the end)', ours.err):
            # read as zeros by qemu-img: snapshots without a name; a lost table is not an empty one
            require_equal(ours.code, 1 if command[0] == 'snapshot' else 0, what + ': exit code\n' + ours.err)
            continue
        require_equal(ours.code, other.code, what + ': exit code\n' + ours.err + other.err)
        if other.code == 0 and '--output=json' in command:
            require_equal(older.value(command[0], ours.out, work.dir), json.loads(other.out), what + ': JSON')
        elif other.code == 0:
            require_equal(older.text(command[0], ours.out, work.dir), other.out, what + ': text')


def only_ours(work, name, code, codes, *options):
    """qemu-img does not open it; qcbm says why."""
    work.run('qemu-img', 'check', name, rc=1)
    result = work.qcbm('check', *options, name, rc=code)
    for one in codes:
        require(one in own_codes(result), '%s: %s is not reported:\n%s' % (work.log[-1], one, result.err))
    return result


def make(work, name='a.qcow2', options='', size='2M', writes=('write -q 0 300k', 'write -q 1M 70k'), snapshots=0,
         bitmaps=0, backing=False):
    shape = (name, options, size, writes, snapshots, bitmaps, backing)
    if 'data_file' in options or 'prealloc' in options:
        make_anew(work, *shape)
    else:
        work.made_once(shape, ('base.qcow2', name), lambda: make_anew(work, *shape))
    return Qcow2(work.path(name))


def make_anew(work, name, options, size, writes, snapshots, bitmaps, backing):
    arguments = ['-o', options] if options else []
    if backing:
        work.create('base.qcow2', size)
        arguments += ['-b', 'base.qcow2', '-F', 'qcow2']
    work.create_image(arguments, name, size)
    if writes:
        work.io(name, *writes)
    for k in range(snapshots):
        work.run('qemu-img', 'snapshot', '-c', 's%d' % k, name)
        work.io(name, 'write -q %dk 10k' % (64 * k))
    for k in range(bitmaps):
        work.run('qemu-img', 'bitmap', '--add', '-g', '4k', name, 'b%d' % k)
        work.io(name, 'write -q %dk 10k' % (64 * k))


# ---- sound images --------------------------------------------------------------------------------------------------

def sound(work, **how):
    make(work, **how)
    both = how.get('snapshots') and how.get('bitmaps')
    compare(work, 'a.qcow2', codes=['snapshots-and-bitmaps'] if both else [])


def options_and_ends(work):
    make(work)
    compare(work, 'a.qcow2', '-q')
    compare(work, 'a.qcow2', '-f', 'qcow2', '-U', '-T', 'none')
    with open(work.path('raw'), 'wb') as f:
        f.write(b'x' * 5000)
    for arguments, same in ((['-f', 'raw', 'a.qcow2'], True), (['raw'], True), (['a.qcow2', 'raw'], False),
                            (['nothing'], False), (['-f', 'qcow2', 'raw'], False), ([], False),
                            (['-r', 'foo', 'a.qcow2'], False), (['-T', 'foo', 'a.qcow2'], True),
                            (['--output=xml', 'a.qcow2'], False)):
        ours = work.qcbm('check', *arguments, rc=None)
        other = work.run('qemu-img', 'check', *arguments, rc=None)
        require_equal(ours.code, other.code, 'exit code of check %s' % arguments)
        require_equal(ours.out, '', 'stdout of check %s' % arguments)
        if same:
            require_equal(ours.err, other.err.replace('qemu-img', 'qcbm'), 'stderr of check %s' % arguments)
    for arguments in ['-r', 'all', 'raw'], ['-r', 'leaks', '-f', 'raw', 'raw'], ['-r', 'all', 'nothing']:
        other = work.run('qemu-img', 'check', *arguments, rc=None)
        require_equal(work.qcbm('check', *arguments, rc=None).code, other.code, 'exit code of check %s' % arguments)
    work.run('cp', 'a.qcow2', 'b.qcow2')
    for options in (['-r', 'all'], ['-r', 'leaks'], ['-q', '-r', 'all'], ['--output=json', '-r', 'all']):
        ours = work.qcbm('check', *options, 'a.qcow2')
        other = work.run('qemu-img', 'check', *options, 'a.qcow2')
        require_equal(ours.err, other.err, 'stderr of check %s' % options)
        if 'json' in options[0]:
            ours, other = json.loads(ours.out), json.loads(other.out)
            require_equal({key: ours[key] for key in other}, other, 'JSON of check %s' % options)
        else:
            require_equal(ours.out, other.out, 'stdout of check %s' % options)
        work.run('cmp', 'a.qcow2', 'b.qcow2')


# ---- damage that qemu-img sees -------------------------------------------------------------------------------------

def refcount_place(image, offset):
    """(offset in the file, bytes) of a refcount of 8 bits or more."""
    bits = 1 << image.refcount_order
    per = image.cluster_size * 8 // bits
    cluster = offset // image.cluster_size
    block = image.words(image.reftable_offset + 8 * (cluster // per), 1)[0]
    return block + cluster % per * bits // 8, bits // 8


def set_refcount(image, offset, value):
    at, width = refcount_place(image, offset)
    patch(image.path, at, value.to_bytes(width, 'big'))


def l1_entry(image, index=0):
    return image.words(image.l1_offset + 8 * index, 1)[0]


def put(image, offset, value):
    patch(image.path, offset, u64(value))


def leak(image):
    set_refcount(image, image.file_size + 5 * image.cluster_size, 1)   # past the end: nobody looks there
    set_refcount(image, image.l2_place(0), 3)
    with open(image.path, 'ab') as f:
        f.write(bytes(2 * image.cluster_size))
    set_refcount(image, image.file_size + image.cluster_size, 1)


def zero_refcount(image):
    set_refcount(image, image.l2_place(0), 0)
    set_refcount(image, 0, 0)


def too_low(image):
    put(image, image.l2_place(0), image.words(image.l2_place(64 * KiB), 1)[0])


DAMAGES = {
    'leaks': leak,
    'refcount zero': zero_refcount,
    'two guest clusters': too_low,
    'copied missing': lambda i: put(i, i.l2_place(0), i.words(i.l2_place(0), 1)[0] & ~COPIED),
    'copied wrong': lambda i: set_refcount(i, i.words(i.l2_place(0), 1)[0] & 0xffffffffff, 2),
    'copied missing in l1': lambda i: put(i, i.l1_offset, l1_entry(i) & ~COPIED),
    'copied alone in l1': lambda i: put(i, i.l1_offset + 8 * (i.l1_size - 1), COPIED),
    'l1 reserved': lambda i: put(i, i.l1_offset, l1_entry(i) | 0x0100000000000003),
    'l1 unaligned': lambda i: put(i, i.l1_offset, l1_entry(i) + 512),
    'l1 past the end': lambda i: put(i, i.l1_offset, COPIED | 1 << 40),
    'l1 to the header': lambda i: put(i, i.l1_offset, 0 | COPIED),
    'l1 to itself': lambda i: put(i, i.l1_offset, i.l1_offset | COPIED),
    'l1 to a refcount block': lambda i: put(i, i.l1_offset, i.words(i.reftable_offset, 1)[0] | COPIED),
    'l1 zero': lambda i: put(i, i.l1_offset, 0),
    'l2 reserved': lambda i: put(i, i.l2_place(0), i.words(i.l2_place(0), 1)[0] | 0x0200000000000006),
    'l2 unaligned': lambda i: put(i, i.l2_place(0), i.words(i.l2_place(0), 1)[0] + 512),
    'l2 zero unaligned': lambda i: put(i, i.l2_place(0), i.words(i.l2_place(0), 1)[0] + 513),
    'l2 past the end': lambda i: put(i, i.l2_place(0), COPIED | 1 << 45),
    'l2 just past the end': lambda i: put(i, i.l2_place(0), COPIED | -(-i.file_size // i.cluster_size)
                                          * i.cluster_size),
    'l2 compressed garbage': lambda i: put(i, i.l2_place(0), 1 << 62 | i.words(i.l2_place(0), 1)[0]),
    'l2 compressed copied': lambda i: put(i, i.l2_place(0), 3 << 62 | 0x40000),
    'l2 compressed far': lambda i: put(i, i.l2_place(0), 1 << 62 | 1 << 48),
    'l2 to the header': lambda i: put(i, i.l2_place(0), COPIED | 1),
    'l2 to its table': lambda i: put(i, i.l2_place(0), l1_entry(i)),
    'l2 to the l1': lambda i: put(i, i.l2_place(0), COPIED | i.l1_offset),
    'l2 of zeros': lambda i: patch(i.path, i.l2_place(0) & ~(i.cluster_size - 1), bytes(i.cluster_size)),
    'l2 random': lambda i: patch(i.path, i.l2_place(0), random.Random(5).randbytes(512)),
    'l1 random': lambda i: patch(i.path, i.l1_offset, random.Random(7).randbytes(8)),
    'reftable reserved': lambda i: put(i, i.reftable_offset, i.words(i.reftable_offset, 1)[0] | 5),
    'reftable zero': lambda i: put(i, i.reftable_offset, 0),
    'refblock unaligned': lambda i: put(i, i.reftable_offset, i.words(i.reftable_offset, 1)[0] + 512),
    'refblock outside': lambda i: put(i, i.reftable_offset, 1 << 40),
    'refblock far outside': lambda i: put(i, i.reftable_offset, 1 << 63),
    'refblock twice': lambda i: put(i, i.reftable_offset + 8, i.words(i.reftable_offset, 1)[0]),
    'refblock is the l1': lambda i: put(i, i.reftable_offset, i.l1_offset),
    'refblock is the header': lambda i: put(i, i.reftable_offset + 8, i.l1_offset),
    'refblock random': lambda i: patch(i.path, i.words(i.reftable_offset, 1)[0], random.Random(3).randbytes(64)),
    'refcount table past the end': lambda i: patch(i.path, 48, u64(1 << 32)),
    'refcount table is the l1': lambda i: patch(i.path, 48, u64(i.l1_offset)),
    'no refcount table': lambda i: patch(i.path, 56, u32(0)),
    'active l1 past the end': lambda i: patch(i.path, 40, u64(1 << 32)),
    'active l1 is the refcount table': lambda i: patch(i.path, 40, u64(i.reftable_offset)),
    'active l1 longer': lambda i: patch(i.path, 36, u32(i.l1_size + 3)),
    'corrupt bit': lambda i: qtool.set_feature_bits(i.path, 'incompatible', 2) if i.version > 2 else None,
    'file cut': lambda i: open(i.path, 'r+b').truncate(i.file_size * 2 // 3),
    'file cut inside a cluster': lambda i: open(i.path, 'r+b').truncate(i.file_size - 700),
    'file longer': lambda i: open(i.path, 'r+b').truncate(i.file_size + 700),
    'snapshot table past the end': lambda i: patch(i.path, 60, u32(2) + u64(1 << 33)),
}


def damaged(work, damage, **how):
    image = make(work, **how)
    if how.get('options', '').startswith('refcount_bits=1,') and damage in ('leaks', 'refcount zero', 'copied wrong'):
        return
    DAMAGES[damage](image)
    compare(work, 'a.qcow2')


def overwritten(work, content, like, l1=False, snapshots=0, options=''):
    """Tables with something else in them: a line each, with QEMU's totals; other problems are told as ever."""
    image = make(work, options=options, size='3G', snapshots=snapshots,
                 writes=tuple('write -q %dM 64k' % (512 * k) for k in range(6)))
    size = image.cluster_size
    offsets = [image.l2_place(k * 512 * MiB) & ~(size - 1) for k in (1, 2, 4)]
    span = size // (16 if 'extended' in options else 8) * size
    for offset in [image.l1_offset] if l1 else offsets:
        patch(image.path, offset, (content * (size // len(content) + 1))[:8 * image.l1_size if l1 else size])
    if not l1:
        put(image, image.l2_place(0), COPIED | 3 << 30)
    result = compare(work, 'a.qcow2')
    found = json.loads(work.qcbm('check', '--output=json', 'a.qcow2', rc=2).out)['findings']
    told = [f for f in found if f['code'] == 'table-overwritten']
    require_equal(sorted(f['offset'] for f in told), sorted([image.l1_offset] if l1 else offsets * (1 + snapshots)),
                  'tables')
    require(all('look like ' + like in f['message'] for f in told), str(told))
    guest = (0, 3 << 30) if l1 else (512 * MiB, 512 * MiB + span)
    require('guest 0x%x - 0x%x' % guest in told[0]['message'], str(told))
    require(len(result.err.splitlines()) < 60, '%d lines' % len(result.err.splitlines()))
    explained = work.qcbm('check', '--explain', 'a.qcow2', rc=2).err
    require_equal('whether the file was cut short' in explained, not l1, 'the cut as a cause')


def snapshot_damage(work, at, data):
    image = make(work, snapshots=1 if data == u32(8) else 3)
    patch(image.path, image.snapshots_offset + at, data)
    # qemu-img adds advice on -r when it cannot read the table
    compare(work, 'a.qcow2', same_text=data != u32(0x800))


def snapshot_l1_shared(work):
    image = make(work, snapshots=2)
    patch(image.path, image.snapshots_offset, u64(image.l1_offset))
    require('cluster-two-owners' in own_codes(compare(work, 'a.qcow2')), 'the shared L1 is not named')


MANY = 20  # findings of a kind in a table, beyond which there is a line for all


def many(work, damage, code, table, cause):
    """More findings than a person reads: the first ones, and a line for each table that says how many there are in all."""
    image = make(work, options='cluster_size=512', size='4M', writes=('write -q 0 1M',))
    blocks = [b for b in image.words(image.reftable_offset, 64) if b]
    damage(image, blocks)
    result = compare(work, 'a.qcow2')
    ours = work.qcbm('check', 'a.qcow2', rc=result.code)
    all_lines = [line for line in result.err.splitlines()]
    shown = ours.err.splitlines()
    sums = [line for line in shown if line.startswith('qcbm: ') and ' times [' in line]
    lines = iter(all_lines)
    require(all(line in lines for line in shown if line not in sums), 'lines that --all does not have')
    require(not [line for line in all_lines if ' times [' in line], '--all has sums')
    told = json.loads(work.qcbm('check', '--output=json', 'a.qcow2', rc=result.code).out)
    require_equal(len(sums), len(told['summary']), 'sums in text and JSON')
    require_equal(len(all_lines) - len(shown) + len(sums), sum(s['count'] - MANY for s in told['summary']), 'lines left out')
    counts = {}
    for f in told['findings']:
        counts[f['code']] = counts.get(f['code'], 0) + 1
    for s in told['summary']:
        require(MANY < s['count'] <= counts[s['code']], str(s))
    mine = [s for s in told['summary'] if s['code'] == code]
    require(mine and all(s['table'] == table and s['cause'] == cause for s in mine), str(told['summary']))
    for s in mine:  # of a table that the witness knows, with its range
        if table == 'L2 table':
            require_equal(image.l2_place(s['guest-offset']), s['offset'], 'place of the L2 table')
            require_equal(s['guest-length'], 512 // 8 * 512, 'range of an L2 table')
        else:
            require_equal(blocks[s['file-offset'] // (256 * 512)], s['offset'], 'place of the refcount block')
            require_equal(s['file-length'], 256 * 512, 'range of a refcount block')
    work.qcbm('check', '-q', '--explain', 'a.qcow2', rc=result.code)


def zero_block(image, blocks):
    patch(image.path, blocks[3], bytes(512))


def raise_block(image, blocks):
    patch(image.path, blocks[3], struct.pack('>H', 2) * 256)


def random_block(image, blocks):
    patch(image.path, blocks[3], struct.pack('>H', 7) * 128 + bytes(256))


def point_out(image, blocks):
    """Offsets that a longer file could have, all over two tables."""
    for guest in 32768, 65536:
        for k in range(64):
            put(image, image.l2_place(guest + 512 * k), COPIED | (4 << 20) + guest + 512 * k)


def refcounts_overflow(work, bits):
    """More references than a narrow refcount can tell; qemu-img says so at the moment it happens."""
    image = make(work, options='cluster_size=4k,refcount_bits=%d' % bits, writes=('write -q 0 400k', 'write -q 3M 8k'),
                 size='4M')
    entry = image.words(image.l2_place(0), 1)[0]
    for k in range(1, 20):
        put(image, image.l2_place(k * 4 * KiB), entry)
    put(image, image.l1_offset + 8, l1_entry(image, 0))
    compare(work, 'a.qcow2')


def subclusters(work, entry, word):
    image = make(work, options='extended_l2=on,cluster_size=64k')
    at = image.l2_place(0)
    old = image.words(at, 2)
    patch(image.path, at, u64(old[0] if entry is None else entry(old[0])) + u64(word))
    compare(work, 'a.qcow2')


def data_file(work, value):
    image = make(work, options='data_file=data.raw')
    at = image.l2_place(64 * KiB)
    put(image, at, value(image.words(at, 1)[0]))
    compare(work, 'a.qcow2')


def byte_changes(work, seed, **how):
    """Some bytes of the metadata changed at random. Images that qemu-img refuses to open are no matter here."""
    make(work, **how)
    qtool.copy_sparse(work.path('a.qcow2'), work.path('sound.qcow2'))
    dice = random.Random(seed)
    image = Qcow2(work.path('sound.qcow2'))
    places = [(image.l1_offset, 8 * image.l1_size), (image.reftable_offset, 32), (image.l2_place(0), 256),
              (image.words(image.reftable_offset, 1)[0], 64), (36, 36)]
    if image.nb_snapshots:
        places.append((image.snapshots_offset, 40))
    for _ in range(6):
        qtool.copy_sparse(work.path('sound.qcow2'), work.path('a.qcow2'))
        for _ in range(dice.randint(1, 3)):
            start, length = dice.choice(places)
            at = start + dice.randrange(length)
            patch(work.path('a.qcow2'), at, bytes([dice.randrange(256)]))
            work.note('# byte at %d changed' % at)
        done = work.run('qemu-img', 'check', 'a.qcow2', rc=None)
        if 'Could not open' in done.err or 'ERROR snapshot table' in done.err or 'failed to read' in done.err \
                or 'Cannot allocate memory' in done.err:
            continue
        compare(work, 'a.qcow2', other=done)


def several_passes(work, damage=None, bits=16):
    """More clusters than the memory holds: the same findings and totals."""
    image = make(work, options='cluster_size=512,refcount_bits=%d' % bits, size='16M', snapshots=1,
                 writes=('write -q 0 9M', 'write -q 12M 1M'))
    if damage == 'overflow':
        for k in range(300):
            put(image, image.l2_place(8 * MiB + k * 512), image.words(image.l2_place(8 * MiB), 1)[0])
            put(image, image.l2_place(k * 512), image.words(image.l2_place(0), 1)[0])
    elif damage:
        DAMAGES[damage](image)
    compare(work, 'a.qcow2')
    full = json.loads(work.qcbm('check', '--output=json', 'a.qcow2', rc=None).out)
    few = json.loads(work.qcbm('check', '--output=json', '--memory=4k', 'a.qcow2', rc=None).out)
    require(few.pop('passes', 1) > 1, 'one pass was enough')
    for fields in full, few:
        fields.pop('findings', None)
        fields.get('summary', []).sort(key=lambda one: (one['code'], one.get('offset', 0)))
        if 'problems' in fields:
            fields['problems'].sort(key=lambda one: one['code'])
    require_equal(few, full, 'with little memory')


# ---- bitmaps, and what qemu-img does not see ---------------------------------------------------------------------

def bitmap_entry(work, at, data, code, codes):
    image = make(work, bitmaps=3)
    patch(image.path, image.bitmaps()[1].entry_offset + at, data)
    result = only_ours(work, 'a.qcow2', code, codes)
    require('Image end offset' in result.out, result.out)


def directory(work, at, data):
    image = make(work, bitmaps=2)
    patch(image.path, image.bitmaps_offset() + 8 + at, data)
    only_ours(work, 'a.qcow2', 2, ['bitmap-directory-broken'])


def bitmap_table(work):
    image = make(work, bitmaps=2)
    put(image, image.bitmaps()[0].table_offset, 0x30001)
    only_ours(work, 'a.qcow2', 2, ['bitmap-table-entry'])
    # qemu-img opens it if the bitmap is in use, and gives up in the middle
    patch(image.path, image.bitmaps()[0].entry_offset + 12, u32(1))
    only_ours(work, 'a.qcow2', 2, ['bitmap-table-entry', 'bitmap-in-use'])


def bitmap_table_overwritten(work):
    image = make(work, options='cluster_size=4k', size='4G', bitmaps=1)
    bitmap = image.bitmaps()[0]
    patch(image.path, bitmap.table_offset, u64(7) * len(bitmap.table))
    result = only_ours(work, 'a.qcow2', 2, ['bitmap-table-entry'])
    require_equal(own_codes(result), ['bitmap-table-entry'], 'lines')
    require('\n%d errors' % len(bitmap.table) in result.out and len(bitmap.table) == 32, result.out)


def in_use(work):
    image = make(work, bitmaps=2)
    patch(image.path, image.bitmaps()[0].entry_offset + 12, u32(3))
    compare(work, 'a.qcow2', codes=['bitmap-in-use'])
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    patch(image.path, image.bitmaps()[0].entry_offset + 8, u32(7))
    compare(work, 'a.qcow2', codes=['bitmap-in-use', 'bitmap-table-size'])
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)


def autoclear(work):
    make(work)
    qtool.set_feature_bits(work.path('a.qcow2'), 'autoclear', 1)
    compare(work, 'a.qcow2', codes=['bitmaps-autoclear-alone'])
    make(work, 'b.qcow2', bitmaps=2)
    qtool.clear_feature_bits(work.path('b.qcow2'), 'autoclear', 1)
    compare(work, 'b.qcow2', codes=['bitmaps-stale'], same_text=False)  # qemu-img warns in its own words


def bitmap_data_lost(work):
    image = make(work, bitmaps=1)
    put(image, image.bitmaps()[0].table_offset, 1 << 40)
    compare(work, 'a.qcow2', codes=['bitmap-data-past-eof'])


def table_cut(work):
    """An L2 table in the last cluster, of which only a part is there: nothing for qemu-img, which reads zeros behind it."""
    image = make(work)
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    patch(image.path, end, image.read(image.l2_place(0), image.cluster_size))
    set_refcount(image, image.l2_place(0), 0)
    set_refcount(image, end, 1)
    put(image, image.l1_offset, end | COPIED)
    compare(work, 'a.qcow2', codes=[])
    with open(image.path, 'r+b') as f:
        f.truncate(end + 100)
    compare(work, 'a.qcow2', codes=['table-cut'])
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    work.qcbm_refused('bitmap', '--add', 'a.qcow2', 'b', says=["qcbm check --explain a.qcow2"])


def l1_cut(work):
    """An L1 table in the last cluster, the active one or that of a snapshot: qemu-img reads zeros behind the end."""
    for snapshots in (0, 1):
        image = make(work, 'a.qcow2', size='40G', snapshots=snapshots)
        end = -(-image.file_size // image.cluster_size) * image.cluster_size
        patch(image.path, end, image.read(image.l1_offset, 8 * image.l1_size))
        set_refcount(image, image.l1_offset, 0)
        set_refcount(image, end, 1)
        if snapshots:
            set_refcount(image, image.words(image.snapshots_offset, 1)[0], 0)
            set_refcount(image, image.l1_offset, 1)
            put(image, image.snapshots_offset, end)
        else:
            put(image, 40, end)
        require('table-cut' not in own_codes(compare(work, 'a.qcow2')), 'whole, and told as cut')
        with open(image.path, 'r+b') as f:
            f.truncate(end + 80)
        result = compare(work, 'a.qcow2')
        require('table-cut' in own_codes(result), result.err)
        require('L1 table of snapshot' in result.err if snapshots else 'active L1 table' in result.err, result.err)


def tail_bits(work):
    image = make(work, bitmaps=1)
    table = image.bitmaps()[0].table
    patch(image.path, table[0] + 64, b'\x01')
    compare(work, 'a.qcow2', codes=['bitmap-tail-bits'])


def unreachable_name(work):
    image = make(work, bitmaps=1)
    patch(image.path, image.bitmaps()[0].entry_offset + 24, b'\0')
    compare(work, 'a.qcow2', codes=['bitmap-name-unreachable'])


def victims(work):
    """Two owners that qemu-img's repair has made look like a snapshot."""
    image = make(work)
    put(image, image.l2_place(0), image.words(image.l2_place(64 * KiB), 1)[0])
    result = compare(work, 'a.qcow2', codes=['cluster-two-owners'])
    require(re.search(r'data of guest offset 0x0 and as data of guest offset 0x10000', result.err), result.err)
    work.run('qemu-img', 'check', '-r', 'all', 'a.qcow2', rc=None)
    result = compare(work, 'a.qcow2', codes=['cluster-two-owners'])
    require_equal(result.code, 0, 'exit code')
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    image = make(work, 'b.qcow2', snapshots=1, bitmaps=1)
    put(image, image.l2_place(0), image.l1_offset | COPIED)
    result = compare(work, 'b.qcow2')
    require(re.search(r'the active L1 table and as data of guest offset 0x0|data of guest offset 0x0 and as the active L1',
                      result.err), result.err)


def lies_in_l2(work):
    image = make(work, options='compat=0.10')
    put(image, image.l2_place(0), image.words(image.l2_place(0), 1)[0] | 1)
    compare(work, 'a.qcow2', codes=['l2-version-2-zero'])
    image = make(work, 'b.qcow2', options='data_file=data.raw')
    put(image, image.l2_place(0), COPIED | 3 * 64 * KiB)
    compare(work, 'b.qcow2', codes=['l2-data-file-offset'])


# ---- hostile -----------------------------------------------------------------------------------------------------

def sanitized():
    """Sanitizers cost time and memory that say nothing about the tool."""
    with open(qtool.QCBM, 'rb') as f:
        return b'__asan_init' in f.read()


def limited(work, name, seconds=2.0, *options):
    """By CPU time, which a busy machine does not lengthen: what must not happen takes hours."""
    result = work.run('/usr/bin/env', 'python3', '-c', '''
import resource, subprocess, sys
done = subprocess.run(['timeout', '400'] + sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.stderr.buffer.write(done.stderr[:4096])''', qtool.QCBM, 'check', *options, name)
    code, took, kib = result.out.split()
    require('Sanitizer' not in result.err and 'runtime error:' not in result.err, result.err)
    require(int(code) in (0, 1, 2, 3), '%s: exit code %s\n%s' % (name, code, result.err))
    if not sanitized():
        require(float(took) < seconds, '%s: %s s of CPU' % (name, took))
        require(int(kib) < 256 * 1024, '%s: %s KiB' % (name, kib))
    return int(code)


def shared_l2(work):
    """A million L1 entries with one L2 table, which is full."""
    image = make(work, options='cluster_size=512', size='64k', writes=('write -q 0 64k',))
    entry = l1_entry(image)
    end = -(-image.file_size // 512) * 512
    patch(image.path, end, u64(entry) * (1 << 20))
    patch(image.path, 36, u32(1 << 20) + u64(end))
    limited(work, 'a.qcow2', 8.0, '-q')


def shared_snapshots(work):
    """Very many snapshots with one long L1 table, or with tables that overlap."""
    image = make(work, options='cluster_size=512', size='64k', writes=('write -q 0 64k',))
    end = -(-image.file_size // 512) * 512
    entries = 1 << 19
    patch(image.path, end, u64(l1_entry(image) & ~COPIED) + bytes(8 * entries - 8))
    table = end + 8 * entries
    one = u32(entries) + struct.pack('>HHIIQII', 1, 1, 0, 0, 0, 0, 16) + u64(0) + u64(65536) + b'1s'
    raw = b''.join((u64(end + 512 * (k % 4096)) + one).ljust(64, b'\0') for k in range(20000))
    patch(image.path, table, raw)
    patch(image.path, 60, u32(20000) + u64(table))
    limited(work, 'a.qcow2', 8.0, '-q')


def sparse_giant(work):
    """A file of many terabytes of holes, with tables everywhere in it."""
    image = make(work, options='cluster_size=64k')
    with open(image.path, 'r+b') as f:
        f.truncate(15 << 40)
    end = 1 << 40
    patch(image.path, end, b''.join(u64((2 << 40) + k * 65536) for k in range(1 << 17)))
    patch(image.path, 36, u32(1 << 17) + u64(end))
    limited(work, 'a.qcow2', 8.0, '-q')


def bitmaps_one_table(work):
    image = make(work, bitmaps=1)
    bitmap = image.bitmaps()[0]
    raw = bytearray(bitmap.raw)
    raw[12:16], raw[8:12] = u32(1), u32(8192)
    n = 30000
    end = -(-image.file_size // 65536) * 65536
    names = b''.join(bytes(raw[:18]) + struct.pack('>HI', 6, 0) + b'%06d' % k + bytes(2) for k in range(n))
    patch(image.path, end, names)
    at = image.bitmaps_offset() + 8
    patch(image.path, at, u32(n) + u32(0) + u64(32 * n) + u64(end))
    limited(work, 'a.qcow2', 8.0, '-q')


def no_other_file(work):
    """Neither backing file nor data file is opened: they do not exist, and qcbm does not mind."""
    make(work, backing=True)
    qtool.os.remove(work.path('base.qcow2'))
    work.qcbm('check', 'a.qcow2', rc=0)
    make(work, 'b.qcow2', options='data_file=data.raw')
    qtool.os.remove(work.path('data.raw'))
    work.qcbm('check', 'b.qcow2', rc=0)


SHAPES = {
    'plain': {},
    '512': {'options': 'cluster_size=512', 'size': '1M', 'writes': ('write -q 0 300k', 'write -q 700k 7k')},
    '2M': {'options': 'cluster_size=2M', 'size': '64M', 'writes': ('write -q 0 5M', 'write -q 32M 1k')},
    'v2': {'options': 'compat=0.10,cluster_size=4k'},
    'extended': {'options': 'extended_l2=on,cluster_size=16k'},
    'snapshots': {'snapshots': 3},
    'bitmaps': {'bitmaps': 3},
    'all': {'snapshots': 2, 'bitmaps': 2, 'options': 'cluster_size=4k'},
    'overlay': {'backing': True, 'writes': ('write -q 100k 70k', 'write -q -z 512k 64k', 'discard -q 0 64k')},
    'compressed': {'writes': ('write -q -c 0 64k', 'write -q -c 64k 64k', 'write -q -c 1M 64k', 'write -q 512k 64k')},
    'zero': {'writes': ('write -q 0 1M', 'write -q -z 64k 64k', 'write -q -z 1M 64k')},
    'refcount 64': {'options': 'refcount_bits=64,cluster_size=1k'},
    'refcount 8': {'options': 'refcount_bits=8,cluster_size=1k', 'snapshots': 1},
    'refcount 1': {'options': 'refcount_bits=1,cluster_size=1k'},
    'refcount 2': {'options': 'refcount_bits=2,cluster_size=1k', 'snapshots': 1},
    'preallocated': {'options': 'preallocation=metadata,cluster_size=4k', 'writes': ()},
    'empty': {'writes': ()},
    'odd': {'options': 'cluster_size=512', 'size': '1000003', 'writes': ('write -q 900k 1k',)},
    'zstd': {'options': 'compression_type=zstd', 'writes': ('write -q -c 0 64k', 'write -q -c 64k 64k')},
    'data file': {'options': 'data_file=data.raw'},
}
DAMAGED_SHAPES = ('plain', '512', 'all')
BYTE_SHAPES = ('512', 'all', 'extended', 'compressed', 'snapshots', 'refcount 8')


def cases(full):
    out = [(sound, 'sound ' + name, how) for name, how in SHAPES.items()]
    out.append((options_and_ends, 'options and ends', {}))
    out += [(damaged, '%s, %s' % (damage, shape), dict(SHAPES[shape], damage=damage))
            for damage in DAMAGES for shape in (SHAPES if full else DAMAGED_SHAPES)
            if not (shape.startswith('refcount ') and shape[9:] in '12') and shape not in ('empty', 'data file', 'odd')
            and not (shape in ('preallocated', 'zero') and damage == 'l2 random')]
    out += [(snapshot_damage, 'snapshot ' + name, {'at': at, 'data': data}) for name, at, data in (
        ('l1 unaligned', 0, u64(0x200)), ('l1 past the end', 0, u64(1 << 40)), ('l1 size', 8, u32(1 << 28)),
        ('l1 longer', 8, u32(9)), ('incomplete', 36, u32(8)), ('extra data', 36, u32(0x800)), ('l1 zero', 8, u32(0)))]
    out += [(overwritten, 'overwritten, ' + name, dict(how, content=content, like=like))
            for name, content, like, how in (
        ('refcounts', b'\0\1' * 4, 'refcounts', {}), ('text', b'the quick brown fox, or a log\n', 'text', {}),
        ('one value', b'\xde\xad\xbe\xef' * 2, '0xdeadbeefdeadbeef over and over', {}),
        ('noise', random.Random(9).randbytes(65536), 'other data', {}),
        ('subclusters', b'\0\1' * 4, 'refcounts', {'options': 'extended_l2=on'}),
        ('snapshots', b'\0\1' * 4, 'refcounts', {'snapshots': 1}),
        ('l1', random.Random(9).randbytes(512), 'other data', {'l1': True, 'options': 'cluster_size=4k'}))]
    out += [(many, 'many, ' + name, dict(damage=damage, code=code, table=table, cause=cause))
            for name, damage, code, table, cause in (
        ('refcounts zeroed', zero_block, 'refcount-zero', 'refcount block', 'zeroed'),
        ('refcounts raised', raise_block, 'cluster-leaked', 'refcount block', 'unknown'),
        ('refcounts overwritten', random_block, 'refcount-zero', 'refcount block', 'overwritten'),
        ('past the end', point_out, 'reference-past-end', 'L2 table', 'cut'))]
    out += [(snapshot_l1_shared, 'snapshot l1 shared', {})]
    out += [(refcounts_overflow, 'overflow of %d bits' % bits, {'bits': bits}) for bits in (1, 2, 4)]
    out += [(several_passes, 'several passes, %s' % damage, {'damage': damage, 'bits': bits}) for damage, bits in (
        (None, 16), ('leaks', 16), ('two guest clusters', 8), ('copied wrong', 16), ('l2 random', 16),
        ('refblock twice', 16), ('refblock unaligned', 16), ('file cut', 16), ('overflow', 8))]
    out += [(subclusters, 'subclusters %d' % k, {'entry': entry, 'word': word}) for k, (entry, word) in enumerate((
        (None, 1 << 32 | 1), (None, 0), (plus_512, 0), (plus_512, 1), (nothing, 1), (nothing, 1 << 32),
        (compressed, 0), (compressed, 5)))]
    out += [(data_file, 'data file %d' % k, {'value': value}) for k, value in enumerate((
        without_copied, compressed, nothing, plus_512))]
    out += [(byte_changes, 'bytes of %s, %d' % (shape, seed), dict(SHAPES[shape], seed=seed))
            for shape in BYTE_SHAPES for seed in range(40 if full else 4)]
    out += [(bitmap_entry, 'bitmap entry ' + name, {'at': at, 'data': data, 'code': 2, 'codes': codes})
            for name, at, data, codes in (
                ('table unaligned', 0, u64(0x10200), ['bitmap-entry-constraint']),
                ('table size', 8, u32(9), ['bitmap-entry-constraint']),
                ('flags', 12, u32(0x80), ['bitmap-entry-constraint']),
                ('type', 16, b'\2', ['bitmap-entry-constraint']),
                ('granularity', 17, b'\x3f', ['bitmap-entry-constraint']),
                ('name twice', 24, b'b0', ['bitmap-name-duplicate']),
                ('broken off', 20, u32(1 << 20), ['bitmap-directory-broken']))]
    out += [(directory, 'directory ' + name, {'at': at, 'data': data}) for name, at, data in (
        ('count', 0, u32(0)), ('more', 0, u32(3)), ('reserved', 4, u32(1)), ('size', 8, u64(48)),
        ('offset', 16, u64(1 << 40)), ('unaligned', 16, u64(0x30100)))]
    out += [(function, function.__name__.replace('_', ' '), {}) for function in (
        bitmap_table, bitmap_table_overwritten, table_cut, l1_cut, in_use, autoclear, bitmap_data_lost, tail_bits,
        unreachable_name, victims, lies_in_l2, shared_l2,
        shared_snapshots, sparse_giant, bitmaps_one_table, no_other_file)]
    return out


def plus_512(entry):
    return entry + 512


def nothing(entry):
    return entry & 0


def compressed(entry):
    return entry & ~COPIED | 1 << 62


def without_copied(entry):
    return entry & ~COPIED


def main():
    args = qtool.arguments(__doc__ or 'qcbm check against qemu-img check')
    qtool.need_tools('qemu-img', 'qemu-io')
    qtool.run_cases(args, cases(args.full))


if __name__ == '__main__':
    main()
