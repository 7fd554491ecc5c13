#!/usr/bin/env python3
# cures.py - what "qcbm check --explain" tells to do is carried out with the real programs, on images with and without
# snapshots, bitmaps, a backing file: snapshots, bitmaps and data are all there afterwards, and the problem is gone
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool.

import functools
import json
import os
import random
import re
import shlex
import shutil
import struct

import qtool
import repair
from qtool import KiB, MiB, Qcow2, patch, peek, require, require_equal

COPIED = 1 << 63
DIRTY, CORRUPT = 1, 2


def u64(value):
    return struct.pack('>Q', value)


# ---- images ------------------------------------------------------------------------------------------------------

def make(work, snapshots, bitmaps, backing=False):
    work.made_once((snapshots, bitmaps, backing), ('base.qcow2', 'a.qcow2'),
                   lambda: make_anew(work, snapshots, bitmaps, backing))


def make_anew(work, snapshots, bitmaps, backing):
    if backing:
        work.create('base.qcow2', 4 * MiB)
        work.io('base.qcow2', 'write -q -P 1 0 4M')
    work.create('a.qcow2', '4M', backing='base.qcow2' if backing else None)
    work.io('a.qcow2', 'write -q -P 2 0 1M', 'write -q -P 2 2M 64k', 'write -q -z 2M 64k')
    for k in range(snapshots):
        work.run('qemu-img', 'snapshot', '-c', 's%d' % k, 'a.qcow2')
        work.io('a.qcow2', 'write -q -P %d %dk 100k' % (3 + k, 128 * k))
    for k in range(bitmaps):
        work.run('qemu-img', 'bitmap', '--add', '-g', '%dk' % (4 << k), 'a.qcow2', 'b%d' % k)
        work.io('a.qcow2', 'write -q -P %d %dk 20k' % (9 + k, 64 * k + 300))
    if bitmaps > 1:
        work.run('qemu-img', 'bitmap', '--disable', 'a.qcow2', 'b1')


def state(work, name, snapshots=None):
    """What must not get lost: the disk, each snapshot's disk, each bitmap's state and bits."""
    if snapshots is None:
        listed = work.run('qemu-img', 'snapshot', '-U', '-l', name).out.splitlines()[2:]
        snapshots = [line.split()[1] for line in listed]
    disks = {}
    for snapshot in [None] + snapshots:
        work.run('qemu-img', 'convert', '-U', '-O', 'raw', *(['-l', snapshot] if snapshot else []), name, 'disk.raw')
        disks[snapshot] = qtool.digest(work.path('disk.raw'))
    return disks, bitmaps_of(work, name)


def bitmaps_of(work, name):
    found = {}
    for b in json.loads(work.qcbm('bitmap', '--list', '--output=json', name).out)['bitmaps']:
        if not b['consistent']:
            continue
        rows = work.qcbm('extents', '--output=json', name, b['name']).out
        found[b['name']] = (b['granularity'], b['enabled'], rows)
    return found


# ---- damage --------------------------------------------------------------------------------------------------------

def set_refcount(image, offset, value):
    block = image.words(image.words(48, 1)[0], 1)[0]
    patch(image.path, block + 2 * (offset // image.cluster_size), struct.pack('>H', value))


def leak(image):
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    with open(image.path, 'ab') as f:
        f.truncate(end + image.cluster_size)
    set_refcount(image, end, 1)


def refcount_zero(image):
    set_refcount(image, image.words(image.l2_place(900 * KiB), 1)[0] & ~COPIED, 0)


def refcount_low(image):
    """As a crash with lazy refcounts leaves it: a cluster that a snapshot shares counts once."""
    set_refcount(image, image.words(image.l2_place(900 * KiB), 1)[0] & ~COPIED, 1)


def copied_flag(image):
    place = image.l2_place(900 * KiB)
    patch(image.path, place, u64(image.words(place, 1)[0] ^ COPIED))


def bitmap_refcount_zero(image):
    """Without a free cluster before it, QEMU puts the next directory there and so destroys the bitmap."""
    end = image.file_size // image.cluster_size
    for cluster in range(end):
        if image.refcount(cluster * image.cluster_size) == 0:
            set_refcount(image, cluster * image.cluster_size, 1)
    set_refcount(image, image.bitmaps()[0].table[0], 0)


def reserved_bits(image):
    """No program mends this; the leaked cluster beside it may be anybody's."""
    place = image.l2_place(900 * KiB)
    patch(image.path, place, u64(image.words(place, 1)[0] | 1 << 57))
    leak(image)


def bits_lost(image):
    """Bitmap data past the end of the file: any open for writing would forget it."""
    patch(image.path, image.bitmaps()[0].table_offset, u64(1 << 40))
    leak(image)


def prealloc_unaligned(image):
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    with open(image.path, 'ab') as f:
        f.truncate(end + 2 * image.cluster_size)
    set_refcount(image, end, 1)
    set_refcount(image, end + image.cluster_size, 1)
    patch(image.path, image.l2_place(2 * MiB), u64(end + 512 | 1 | COPIED))


def incomplete_snapshot(image):
    """A last entry as old programs wrote it, with 8 bytes of extra data."""
    at = image.snapshots_offset
    for index in range(image.nb_snapshots):
        id_len, name_len, extra = struct.unpack('>12xHH20xI', peek(image.path, at, 40))
        length = -(-(40 + extra + id_len + name_len) // 8) * 8
        if index + 1 == image.nb_snapshots:
            strings = peek(image.path, at + 40 + extra, id_len + name_len)
            patch(image.path, at + 36, struct.pack('>I', 8) + bytes(8) + strings + bytes(extra - 8))
        at += length


def features(image, incompatible, autoclear):
    for field, bits in (72, incompatible), (88, autoclear):
        patch(image.path, field, u64(image.words(field, 1)[0] ^ bits))


def flags(incompatible=0, autoclear=0):
    return functools.partial(features, incompatible=incompatible, autoclear=autoclear)


# ---- the advice ----------------------------------------------------------------------------------------------------

def cures(work, name):
    result = work.qcbm('check', '--explain', name, rc=None)
    found = re.findall(r'qcbm: ([a-z0-9-]+), (?:once|\d+ times) \(.*\)\n    consequence: .*\n    cure: (.*)', result.err)
    require(found or 'cure' not in result.err, result.err)
    return dict(found), result


def levels(work, name):
    """For programs: with which level qemu-img's repair mends it and loses nothing."""
    return {p['code']: p['repair'] for p in json.loads(work.qcbm('check', '--output=json', name, rc=None).out)['problems']}


def carry_out(work, cure, snapshots, bitmaps, rc=0):
    """The quoted commands of @cure, in order; returns the copies that they make."""
    copies = []
    for quoted in re.finditer(r"'((?:qemu-|qcbm |cp )[^']*)'", cure):
        command = quoted.group(1)
        many = bitmaps if 'BITMAP' in command else snapshots if 'SNAPSHOT' in command else [None]
        require(len(many) < 2 or 'for each' in cure[quoted.start():], cure)
        for one in many:
            words = [{'COPY': 'copy.qcow2', 'OUT': 'out-%s' % one, 'BITMAP': one, 'SNAPSHOT': one}.get(word, word)
                     for word in shlex.split(command)]
            if words[0] == 'qcbm':
                work.qcbm(*words[1:], rc=(0, 3) if words[1] == 'rescue' else rc)
            else:
                work.run(*words, rc=rc)
            copies += [words[-1]] if words[1] == 'convert' else []
    return copies


def repaired(work, damage, code, snapshots=0, bitmaps=0, backing=False, way=None, left=()):
    """@code: the problem whose cure is carried out; @way: what the cure must say; @left: problems that may stay."""
    make(work, snapshots, bitmaps, backing)
    names = ['s%d' % k for k in range(snapshots)], ['b%d' % k for k in range(bitmaps)]
    before = state(work, 'a.qcow2')
    require_equal(len(before[0]) + len(before[1]), 1 + snapshots + bitmaps, 'parts of the image')
    for one in damage:
        one(Qcow2(work.path('a.qcow2')))
    told, result = cures(work, 'a.qcow2')
    require(code in told, '%s is not told: %s' % (code, result.err))
    cure = told[code]
    require(re.search(way, cure), 'the cure of %s is: %s' % (code, cure))
    both = snapshots and bitmaps
    require(not both or not re.search('qemu-img check -r', result.err), 'sends to the loss: ' + result.err)
    said = re.match(r"'qemu-img check -r (leaks|all) a.qcow2'$", cure)
    require_equal(levels(work, 'a.qcow2')[code] != 'none', said is not None, 'level in the JSON')
    carry_out(work, cure, *names)
    require_equal(state(work, 'a.qcow2'), before, 'what the image has')
    work.check('a.qcow2')
    require_equal(sorted(set(cures(work, 'a.qcow2')[0]) - {'snapshots-and-bitmaps'}), sorted(left), 'problems left')


def named(work, name):
    """The cure names the image, and can be given to a shell as it is; a name that no terminal shows stays FILE."""
    make(work, 0, 0)
    leak(Qcow2(work.path('a.qcow2')))
    shutil.copy(work.path('a.qcow2'), work.path(name))
    told = cures(work, './' + name if name.startswith('-') or ':' in name else name)[0]
    shown = work.qcbm('check', './' + name, rc=3).err
    if not name.isprintable():
        require_equal(told['cluster-leaked'], "'qemu-img check -r leaks FILE'", 'cure')
        require('qcbm check --explain FILE' in shown, shown)
        return
    require('FILE' not in told['cluster-leaked'] + shown, told['cluster-leaked'] + shown)
    work.run('sh', '-c', told['cluster-leaked'][1:-1])
    work.run('qemu-img', 'check', '-q', './' + name)
    require_equal(shlex.split(re.search("'qcbm check --explain (.*)' tells", shown).group(1)), ['./' + name], 'name')


def warned(work, autoclear=0, bitmaps=1):
    """The danger is real, and check warns of it."""
    make(work, 2, bitmaps)
    flags(autoclear=autoclear)(Qcow2(work.path('a.qcow2')))
    require('snapshots-and-bitmaps' in cures(work, 'a.qcow2')[0], 'no warning')
    shutil.copy(work.path('a.qcow2'), work.path('b.qcow2'))
    leak(Qcow2(work.path('b.qcow2')))
    work.run('qemu-img', 'check', '-r', 'leaks', 'b.qcow2')
    require_equal(Qcow2(work.path('b.qcow2')).nb_snapshots, 0, 'snapshots after a repair by qemu-img')
    work.io('a.qcow2', 'write -q 0 64k')
    require_equal(Qcow2(work.path('a.qcow2')).nb_snapshots, 2, 'snapshots after a guest wrote')


def not_warned(work, snapshots, bitmaps, in_use=False):
    make(work, snapshots, bitmaps)
    image = Qcow2(work.path('a.qcow2'))
    for b in image.bitmaps() if in_use else []:
        patch(image.path, b.entry_offset + 12, struct.pack('>I', 3))
    leak(image)
    told, _ = cures(work, 'a.qcow2')
    require('snapshots-and-bitmaps' not in told, 'a warning')
    require_equal(told['cluster-leaked'], "'qemu-img check -r leaks a.qcow2'", 'cure')
    require_equal(levels(work, 'a.qcow2')['cluster-leaked'], 'leaks', 'level in the JSON')
    plain = work.qcbm('check', 'a.qcow2', rc=3)
    require('no harm to data' in plain.out and 'qcbm check --explain' in plain.err, plain.out + plain.err)
    before = state(work, 'a.qcow2')
    carry_out(work, told['cluster-leaked'], [], [])
    require_equal(state(work, 'a.qcow2'), before, 'what the image has')
    require_equal([b.in_use for b in Qcow2(work.path('a.qcow2')).bitmaps()], [in_use] * bitmaps, 'bitmaps in use')


def left_alone(work, damage, snapshots, bitmaps):
    """Leaks beside damage that no program mends: nothing is told that frees them."""
    make(work, snapshots, bitmaps)
    for one in damage:
        one(Qcow2(work.path('a.qcow2')))
    told, result = cures(work, 'a.qcow2')
    require('do not free them' in told['cluster-leaked'], told['cluster-leaked'])
    require('do not free them' in result.out and 'no harm' not in result.out, result.out)
    require_equal(set(levels(work, 'a.qcow2').values()), {'none'}, 'levels of a repair by qemu-img')
    require('qemu-img check -r' not in ' '.join(told.values()) and '-r all' not in ' '.join(told.values()), repr(told))


def snapshot_table(work, bitmaps, damage):
    """One that cannot be read: the disk, the bitmaps and the snapshots behind the bad entry are kept."""
    make(work, 2, bitmaps)
    image = Qcow2(work.path('a.qcow2'))
    before = state(work, 'a.qcow2')
    patch(image.path, image.snapshots_offset + 36, struct.pack('>I', 1 << 20))
    damage(image)
    told, result = cures(work, 'a.qcow2')
    require_equal(result.code, 1, 'exit code')
    require('cluster-leaked' not in told, 'leaks are told, but those may be the snapshots')
    require('l2-reserved-bits' in told or damage is not reserved_bits, result.err)
    require('1 of 2 snapshots' in work.qcbm('check', '-r', 'all', 'a.qcow2', rc=1).err, 'a snapshot is given up')
    require('copy' in told['snapshot-table'], told['snapshot-table'])
    carry_out(work, told['snapshot-table'], [], [])
    after = state(work, 'a.qcow2')
    require_equal((sorted(map(str, after[0])), after[1]), (['None', 's1'], before[1]), 'snapshots, and bitmaps')
    require_equal([after[0][s] for s in after[0]], [before[0][s] for s in after[0]], 'disks')


def lost_snapshots(work, where):
    """A table of zeros is no table of snapshots without names."""
    make(work, 2, 1)
    image = Qcow2(work.path('a.qcow2'))
    before = state(work, 'a.qcow2')
    if where == 'zeros':
        patch(image.path, image.snapshots_offset, bytes(200))
    else:
        end = -(-image.file_size // image.cluster_size) * image.cluster_size
        with open(image.path, 'ab') as f:
            f.truncate(end + image.cluster_size)
        patch(image.path, 64, u64(end))
    told, result = cures(work, 'a.qcow2')
    require('snapshot-lost' in told and '2 of 2 entries' in result.err, result.err)
    require('do not free them' in told['cluster-leaked'], told['cluster-leaked'])
    work.qcbm_refused('snapshot', '-l', 'a.qcow2', says=['all zeros'])
    work.qcbm_refused('bitmap', '--add', 'a.qcow2', 'c', says=['all zeros', 'qcbm check --explain a.qcow2'],
                      unchanged=['a.qcow2'])
    require('all zeros' in work.qcbm('info', 'a.qcow2').err, 'info is silent')
    require_equal(work.qcbm('check', '--strict', 'a.qcow2', rc=None).code, 2, 'exit code')
    work.qcbm('check', '-r', 'all', 'a.qcow2', rc=1)
    require('-r' not in told['snapshot-incomplete'], 'a promise beside lost snapshots: ' + told['snapshot-incomplete'])
    require_equal(state(work, 'a.qcow2', []), ({None: before[0][None]}, before[1]), 'disk and bitmaps')


def explained(work, seed, options):
    """Whatever a refusal says, check finds something where it sends people to."""
    random_bytes = random.Random(seed)
    work.create('a.qcow2', 4 * MiB, options=options)
    for k in range(2):
        work.io('a.qcow2', 'write -q %dk 300k' % (1024 * k))
        work.run('qemu-img', 'snapshot', '-c', 's%d' % k, 'a.qcow2')
        work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b%d' % k)
    image = Qcow2(work.path('a.qcow2'))
    places = [(0, 104), (image.l1_offset, 16), (image.l2_place(0), 600), (image.snapshots_offset, 200),
              (image.words(48, 1)[0], 8), (image.words(image.words(48, 1)[0], 1)[0], 400),
              (image.bitmaps()[0].entry_offset, 60), (image.bitmaps()[0].table_offset, 8)]
    refused = 0
    for _ in range(60):
        shutil.copy(work.path('a.qcow2'), work.path('m.qcow2'))
        start, length = random_bytes.choice(places)
        at = start + random_bytes.randrange(length) // 8 * 8
        word = random_bytes.choice((u64(0), u64(random_bytes.getrandbits(64)), u64(1 << 40), u64(
            random_bytes.randrange(image.file_size // image.cluster_size) * image.cluster_size | COPIED)))
        patch(work.path('m.qcow2'), at, word[:random_bytes.choice((1, 8))])
        result = work.qcbm('bitmap', '--add', '--dry-run', 'm.qcow2', 'new', rc=(0, 1))
        if 'qcbm check --explain m.qcow2' in result.err:
            refused += 1
            require_equal(work.qcbm('check', '--strict', 'm.qcow2', rc=None).code in (1, 2), True,
                          'check finds something at 0x%x: %s' % (at, result.err))
    require(refused > 10, 'only %d refusals' % refused)


def in_use(work, backing):
    """It covers what it had, and what was written since; of an overlay that is what synth makes, too."""
    make(work, 0, 1, backing)
    image = Qcow2(work.path('a.qcow2'))
    before = image.bitmap_dirty(image.bitmap('b0'))
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q 3M 64k', '-c', 'flush', '-c', 'abort', 'a.qcow2', rc=None)
    told, _ = cures(work, 'a.qcow2')
    require_equal('synth --replace' in told['bitmap-in-use'], backing, told['bitmap-in-use'])
    require("'qcbm bitmap --revive a.qcow2 b0'" in told['bitmap-in-use'], told['bitmap-in-use'])
    machine = json.loads(work.qcbm('check', '--output=json', 'a.qcow2').out)['problems']
    require_equal({p['code']: p['cure'] for p in machine}, told, 'cures in the JSON')
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    carry_out(work, told['bitmap-in-use'], [], ['b0'])
    work.qcbm('check', '--strict', 'a.qcow2')
    image = Qcow2(work.path('a.qcow2'))
    after = image.bitmap_dirty(image.bitmap('b0'))
    require_equal(qtool.ranges_minus(before + [(3 * MiB, 3 * MiB + 64 * KiB)], after, 4 * MiB), [], 'bytes missed')


def in_use_of_layers(work):
    """A bitmap about more than its own layer: what was saved of it is in the new one."""
    work.create('base.qcow2', 8 * MiB)
    work.create('mid.qcow2', '8M', backing='base.qcow2')
    work.io('mid.qcow2', 'write -q -P 1 1M 1M')
    work.create('a.qcow2', '8M', backing='mid.qcow2')
    work.io('a.qcow2', 'write -q -P 2 5M 1M')
    work.qcbm('synth', '-g', '4k', '--since', 'base.qcow2', 'a.qcow2', 'b0')
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q 6M 64k', '-c', 'flush', '-c', 'abort', 'a.qcow2', rc=None)
    told, _ = cures(work, 'a.qcow2')
    carry_out(work, told['bitmap-in-use'], [], ['b0'])
    image = Qcow2(work.path('a.qcow2'))
    require_equal(image.bitmap_dirty(image.bitmap('b0')), [(1 * MiB, 2 * MiB), (5 * MiB, 6 * MiB + 64 * KiB)], 'dirty')
    require_equal(bitmaps_of(work, 'a.qcow2')['b0'][:2], (4096, True), 'granularity and state')


def in_use_unreadable(work):
    """What was saved cannot be read: then that is said."""
    make(work, 0, 1, True)
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q 3M 64k', '-c', 'flush', '-c', 'abort', 'a.qcow2', rc=None)
    image = Qcow2(work.path('a.qcow2'))
    patch(image.path, image.bitmaps()[0].table_offset, u64(1 << 63))
    done = work.qcbm('synth', '--replace', '--dry-run', 'a.qcow2', 'b0', rc=None)
    require('cannot be read' in done.out + done.err, done.out + done.err)
    work.qcbm_refused('synth', '--replace', 'a.qcow2', 'b0', unchanged=['a.qcow2'],
                      says=['what was saved of it cannot be read', '--force goes on'])
    done = work.qcbm('synth', '--replace', '--force', 'a.qcow2', 'b0')
    require('what it had of other layers is missing' in done.out, done.out)
    require_equal(bitmaps_of(work, 'a.qcow2')['b0'][1], True, 'state')


def of_bitmaps(work, damage, code, all_kept=True):
    """The image opens again and no dirty byte is missing, in a bitmap of each name that can be read."""
    make(work, 2, 2)
    before = state(work, 'a.qcow2')
    damage(Qcow2(work.path('a.qcow2')))
    told, result = cures(work, 'a.qcow2')
    require(code in told, '%s is not told: %s' % (code, result.err))
    require("'qcbm check -r bitmaps a.qcow2'" in told[code], told[code])
    carry_out(work, told[code], [], [], rc=(0, 3))
    after = state(work, 'a.qcow2')
    require_equal(after[0], before[0], 'disks')
    require(all_kept <= (len(after[1]) >= 1), 'bitmaps: %r' % (after[1],))
    image = Qcow2(work.path('a.qcow2'))
    for b in image.bitmaps() if after[1] else []:
        old = [(r['offset'], r['offset'] + r['length']) for r in json.loads(before[1][b.name.decode()][2])
               if r['description'] == 'dirty'] if b.name.decode() in before[1] else []
        require_equal(qtool.ranges_minus(old, image.bitmap_dirty(b), 4 * MiB), [], 'bytes that %r misses' % b.name)
    require(code not in cures(work, 'a.qcow2')[0], 'it is still there')
    work.run('qemu-img', 'check', 'a.qcow2', rc=(0, 3))


def stale_in_version_2(work):
    """The leak that dropping them leaves is told."""
    work.create('a.qcow2', 4 * MiB, options='compat=0.10')
    work.io('a.qcow2', 'write -q 0 64k')
    image = Qcow2(work.path('a.qcow2'))
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    with open(image.path, 'ab') as f:
        f.truncate(end + 3 * image.cluster_size)
    for k in range(3):
        set_refcount(image, end + k * image.cluster_size, 1)
    patch(image.path, end, struct.pack('>QIIBBHI', end + image.cluster_size, 1, 2, 1, 16, 2, 0) + b'b0')
    patch(image.path, end + image.cluster_size, u64(end + 2 * image.cluster_size))
    patch(image.path, 72, struct.pack('>IIIIQQ', 0x23852875, 24, 1, 0, 32, end) + bytes(8))
    told, _ = cures(work, 'a.qcow2')
    require('leaked clusters' in told['bitmaps-stale'], repr(told))
    carry_out(work, told['bitmaps-stale'], [], [])
    told, _ = cures(work, 'a.qcow2')
    require_equal(told, {'cluster-leaked': "'qemu-img check -r leaks a.qcow2'"}, 'what is left')
    carry_out(work, told['cluster-leaked'], [], [])
    work.check('a.qcow2')


def stale(work, snapshots, leaks):
    """The names stay, all dirty, and nothing leaks; the leaks of others are told behind the bitmaps."""
    make(work, snapshots, 2)
    names, disks = bitmaps_of(work, 'a.qcow2'), state(work, 'a.qcow2')[0]
    flags(autoclear=1)(Qcow2(work.path('a.qcow2')))
    for one in leaks:
        one(Qcow2(work.path('a.qcow2')))
    told, _ = cures(work, 'a.qcow2')
    require('full backup' in told['bitmaps-stale'], told['bitmaps-stale'])
    require("'qemu-i" not in ' '.join(told.values()), 'a way that drops the names: %r' % told)
    require('problems of the bitmaps' in told['cluster-leaked'], told['cluster-leaked'])
    carry_out(work, told['bitmaps-stale'].split(';')[0], [], [], rc=(0, 3))
    after = bitmaps_of(work, 'a.qcow2')
    require_equal({n: after[n][0] for n in after}, {n: names[n][0] for n in names}, 'bitmaps, and granularities')
    image = Qcow2(work.path('a.qcow2'))
    require_equal([image.bitmap_dirty(b) for b in image.bitmaps()], [[(0, 4 * MiB)]] * 2, 'dirty')
    require_equal(state(work, 'a.qcow2')[0], disks, 'disks')
    left = cures(work, 'a.qcow2')[0]
    require_equal(sorted(set(left) - {'snapshots-and-bitmaps'}), ['cluster-leaked'] if leaks else [], 'problems left')
    carry_out(work, left.get('cluster-leaked', ''), [], [])
    work.check('a.qcow2')


def in_use_of_two(work):
    """One command for both."""
    make(work, 0, 2)
    work.run('qemu-img', 'bitmap', '--enable', 'a.qcow2', 'b1')
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q 3M 64k', '-c', 'flush', '-c', 'abort', 'a.qcow2', rc=None)
    carry_out(work, cures(work, 'a.qcow2')[0]['bitmap-in-use'], [], [])
    require_equal(sorted(bitmaps_of(work, 'a.qcow2')), ['b0', 'b1'], 'consistent')
    work.qcbm('check', '--strict', 'a.qcow2')


def lost_beside_snapshots(work):
    """A snapshot has the cluster that the disk lost, and the cure leads to it."""
    make(work, 1, 0)
    image = Qcow2(work.path('a.qcow2'))
    before = state(work, 'a.qcow2')[0]['s0']
    patch(image.path, image.l2_place(0), u64(1 << 40 | COPIED))
    cure = cures(work, 'a.qcow2')[0]['reference-past-end']
    copies = carry_out(work, cure, ['s0'], [])
    require_equal(len(copies), 1, 'copies: ' + cure)
    work.run('qemu-img', 'convert', '-O', 'raw', copies[0], 'copy.raw')
    require_equal(qtool.digest(work.path('copy.raw')), before, 'the disk of the snapshot')


# ---- no circles ----------------------------------------------------------------------------------------------------

def overwrite(place, content):
    def damage(path, sound, noise):
        at, length = place(sound)
        patch(path, at, bytes(length) if content == 'zeros' else noise.randbytes(length))
    damage.__name__ = '%s %s' % (place.__name__, content)
    return damage


def l1(image):
    return image.l1_offset, 64


def l2(image):
    return image.l2_place(0), 512


def table(image):
    return image.words(48, 1)[0], 64


def block(image):
    return image.words(image.words(48, 1)[0], 1)[0], 512


def directory(image):
    return image.directory_offset, 32


def snapshots(image):
    return image.snapshots_offset, 64


def cut(path, sound, noise):
    os.truncate(path, noise.randrange(sound.file_size // 4, sound.file_size))


def used(path, sound, noise):
    for b in sound.bitmaps():
        patch(path, b.entry_offset + 12, struct.pack('>I', 3))


def shared(path, sound, noise):
    patch(path, sound.l2_place(64 * KiB), peek(sound.path, sound.l2_place(0), 8))


PLACES = [overwrite(place, content) for place in (l1, l2, table, block, directory, snapshots) for content in ('zeros', 'noise')]
FAULTS = PLACES + [cut, used, shared]


def runnable(told):
    """Commands in which nothing has to be put in, each once; and whether its cure says that it may be refused."""
    found = {}
    for cure in told.values():
        for command in re.findall(r"'((?:qemu-|qcbm )[^']*)'", cure):
            if not re.search(r'\b(EDIT|UNDO|COPY|SNAPSHOT|OUT|BITMAP|COPY-OF-SNAPSHOT)\b', command):
                found.setdefault(command, 'where it refuses' in cure)
    return found


def step(work, told, name):
    """The first command that changes anything; none may be refused unless its cure says so."""
    commands = runnable(told)
    for command, doubtful in commands.items():
        words, was = shlex.split(command), qtool.digest(work.path('a.qcow2'))
        result = work.qcbm(*words[1:], rc=None) if words[0] == 'qcbm' else work.run(*words, rc=None)
        require(result.code != 1 or doubtful or words[0] != 'qcbm', "%s: '%s' fails: %s\n%r" % (name, command, result.err, told))
        if words[1] == 'rescue' and result.code != 1 or qtool.digest(work.path('a.qcow2')) != was:
            return words[1]
    require(not commands, '%s: a circle, of %s, %r' % (name, list(commands), told))
    return 'nothing'


def lead_on(work, snapshots, bitmaps, seed, n):
    """Whatever the damage: what the cures tell is not refused, and following it comes to an end."""
    noise = random.Random(seed)
    make(work, snapshots, bitmaps)
    shutil.copy(work.path('a.qcow2'), work.path('sound.qcow2'))
    sound = Qcow2(work.path('sound.qcow2'))
    can = [f for f in FAULTS if (bitmaps or f not in (used, PLACES[8], PLACES[9])) and (snapshots or f not in PLACES[10:])]
    for _ in range(n):
        faults = noise.sample(can, noise.choice((1, 2, 2)))
        name = ' and '.join(f.__name__ for f in faults)
        shutil.copy(work.path('sound.qcow2'), work.path('a.qcow2'))
        for fault in sorted(faults, key=lambda f: f is cut):
            fault(work.path('a.qcow2'), sound, noise)
        for _ in range(8):
            told, result = cures(work, 'a.qcow2')
            if set(told) <= {'snapshots-and-bitmaps'}:
                require(result.code == 0, '%s: %s' % (name, result.err))
                break
            done = step(work, told, name)
            if done in ('rescue', 'nothing'):
                break
        else:
            require(False, '%s: no end' % name)
        if os.path.exists(work.path('NEW')):
            os.remove(work.path('NEW'))


def in_use_of_wrong_size(image):
    repair.field(image, 8, struct.pack('>I', 2))
    repair.field(image, 12, struct.pack('>I', 3))


# ---- all -----------------------------------------------------------------------------------------------------------

CHECK, OPEN, REPAIR = ('^.qemu-img check -r %s a.qcow2.$', '^.qemu-io ',
                       '^.qcbm check -r %s a.qcow2.: it keeps snapshots and bitmaps')
KINDS = {'plain': {}, 'snapshots': {'snapshots': 2}, 'bitmaps': {'bitmaps': 2}, 'both': {'snapshots': 2, 'bitmaps': 2}}


def matrix():
    """(damage, code of the problem, way without and with the danger)"""
    rows = (('leak', [leak], 'cluster-leaked', CHECK % 'leaks', REPAIR % 'leaks'),
            ('copied', [copied_flag], 'copied-flag-l2', CHECK % 'all', REPAIR % 'all'),
            ('copied and leak', [copied_flag, leak], 'cluster-leaked', CHECK % 'all', REPAIR % 'all'),
            ('zero', [refcount_zero], 'refcount-zero', CHECK % 'all', REPAIR % 'all'),
            ('prealloc', [prealloc_unaligned], 'l2-prealloc-unaligned', CHECK % 'all', REPAIR % 'all'),
            ('dirty', [flags(DIRTY)], 'header-dirty-bit', OPEN, OPEN),
            ('dirty, leak', [flags(DIRTY), leak], 'cluster-leaked', OPEN, OPEN),
            ('dirty, zero', [flags(DIRTY), refcount_zero], 'refcount-zero', OPEN, OPEN),
            ('dirty, copied', [flags(DIRTY), copied_flag], 'copied-flag-l2', OPEN, OPEN),
            ('corrupt', [flags(CORRUPT)], 'header-corrupt-bit', CHECK % 'all', REPAIR % 'all'),
            ('corrupt, dirty, leak', [flags(CORRUPT | DIRTY), leak], 'cluster-leaked', CHECK % 'all', REPAIR % 'all'),
            ('reserved', [reserved_bits], 'l2-reserved-bits', 'restore', 'restore'))
    for name, damage, code, safe, careful in rows:
        for kind, parts in KINDS.items():
            if name != 'reserved':
                yield repaired, '%s, %s' % (name, kind), dict(parts, damage=damage, code=code,
                                                              way=careful if kind == 'both' else safe)
            else:
                yield left_alone, '%s, %s' % (name, kind), {'damage': damage, 'snapshots': parts.get('snapshots', 0),
                                                            'bitmaps': parts.get('bitmaps', 0)}


def cases():
    out = list(matrix())
    for kind, parts in KINDS.items():
        if 'snapshots' in parts:
            out.append((repaired, 'incomplete snapshot, ' + kind, dict(
                parts, damage=[incomplete_snapshot], code='snapshot-incomplete',
                way=REPAIR % 'all' if kind == 'both' else CHECK % 'all')))
            out.append((repaired, 'shared cluster counts once, ' + kind, dict(
                parts, damage=[refcount_low], code='refcount-too-low',
                way=REPAIR % 'all' if kind == 'both' else CHECK % 'all')))
            out.append((repaired, 'dirty, shared cluster counts once, ' + kind, dict(
                parts, damage=[refcount_low, flags(DIRTY)], code='refcount-too-low', way=OPEN)))
        if 'bitmaps' in parts:
            out.append((repaired, 'bitmap counts as free, ' + kind, dict(
                parts, damage=[bitmap_refcount_zero], code='refcount-zero', way=REPAIR % 'all' if kind == 'both' else CHECK % 'all')))
            out.append((repaired, 'dirty, bitmap counts as free, ' + kind, dict(
                parts, damage=[bitmap_refcount_zero, flags(DIRTY)], code='refcount-zero', way=OPEN)))
            out.append((left_alone, 'bits lost, ' + kind, {'damage': [bits_lost], 'bitmaps': 2,
                                                           'snapshots': parts.get('snapshots', 0)}))
        out.append((repaired, 'dirty, reserved, ' + kind, dict(
            parts, damage=[flags(DIRTY), reserved_bits], code='header-dirty-bit', way=REPAIR % 'all')))
        out.append((repaired, 'overlay, corrupt, leak, reserved, ' + kind, dict(
            parts, backing=True, damage=[flags(CORRUPT), reserved_bits], code='header-corrupt-bit', way=REPAIR % 'all')))
        out.append((repaired, 'overlay, leak, ' + kind, dict(
            parts, backing=True, damage=[leak], code='cluster-leaked', way='leaks')))
    out += [(repaired, 'unknown feature, %s' % code, {
        'snapshots': 2, 'damage': [flags(autoclear=1 << 20), damage], 'code': code, 'way': REPAIR % level})
        for damage, code, level in ((leak, 'cluster-leaked', 'leaks'), (refcount_zero, 'refcount-zero', 'all'))]
    out += [(warned, 'warned of bitmaps', {}), (warned, 'warned of a stale extension', {'autoclear': 1}),
            (warned, 'warned of an unknown feature', {'autoclear': 1 << 20, 'bitmaps': 0})]
    out += [(not_warned, 'not warned: ' + kind, {'snapshots': parts.get('snapshots', 0), 'bitmaps': parts.get('bitmaps', 0)})
            for kind, parts in KINDS.items() if kind != 'both']
    out.append((not_warned, 'not warned: bitmaps in use', {'snapshots': 2, 'bitmaps': 2, 'in_use': True}))
    out += [(snapshot_table, 'snapshot table, %d bitmaps%s' % (n, ', reserved' if damage is reserved_bits else ''),
             {'bitmaps': n, 'damage': damage}) for n in (0, 2) for damage in (reserved_bits, leak)]
    out += [(lost_snapshots, 'snapshot table ' + where, {'where': where}) for where in ('zeros', 'hole')]
    out += [(explained, 'refusals are explained, ' + name, {'seed': seed, 'options': options}) for seed, (name, options) in
            enumerate((('plain', ''), ('small', 'cluster_size=4k'), ('extended', 'extended_l2=on')))]
    out += [(in_use, 'in use, overlay', {'backing': True}), (in_use, 'in use, no overlay', {'backing': False}),
            (in_use_of_layers, 'in use, about layers', {}), (in_use_unreadable, 'in use, unreadable', {}),
            (stale_in_version_2, 'stale, version 2', {}), (in_use_of_two, 'in use, two', {}),
            (lost_beside_snapshots, 'lost beside snapshots', {})]
    out += [(stale, 'stale, %d snapshots, %d leaks' % (n, len(leaks)), {'snapshots': n, 'leaks': leaks})
            for n in (0, 2) for leaks in ([], [leak])]
    out += [(named, 'name %r' % name, {'name': name}) for name in (
        'plain.qcow2', 'with space.qcow2', "it's $(x) `y` & \\ ; <z> *.qcow2", '-r', 'a:b.qcow2', 'caf\u00e9~#!.qcow2', 'line\nbreak.qcow2')]
    out += [(lead_on, 'lead on, ' + kind, {'snapshots': parts.get('snapshots', 0), 'bitmaps': parts.get('bitmaps', 0), 'seed': 7, 'n': 60})
            for kind, parts in KINDS.items() if kind in ('plain', 'both')]
    out += [(of_bitmaps, code, {'damage': damage, 'code': code, 'all_kept': kept}) for code, damage, kept in (
        ('bitmaps-autoclear-alone', repair.autoclear_alone, False),
        ('bitmap-directory-broken', repair.zero_directory, False),
        ('bitmap-entry-constraint', repair.at_entry(12, struct.pack('>I', 0x12)), True),
        ('bitmap-name-duplicate', repair.at_entry(24, b'b0'), True),
        ('bitmap-name-unreachable', repair.at_entry(25, b'\0'), True),
        ('bitmap-table-shared', repair.table_of_the_first, True),
        ('bitmap-table-entry', repair.in_table(u64(0x1001)), True),
        ('bitmap-table-past-end', repair.at_entry(0, u64(1 << 40)), True),
        ('bitmap-table-size', in_use_of_wrong_size, True),
        ('bitmap-data-past-eof', repair.in_table(u64(1 << 40)), True))]
    return out


def main():
    args = qtool.arguments(__doc__ or 'the cures of qcbm check')
    qtool.need_tools('qemu-img', 'qemu-io')
    qtool.run_cases(args, cases())


if __name__ == '__main__':
    main()
