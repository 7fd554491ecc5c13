#!/usr/bin/env python3
# repair_mutations.py - images of many shapes are damaged in many ways, by a seed, and repaired by "qcbm check -r all"
#
# SPDX-License-Identifier: MIT
#
# Of each case must hold: the damage is noticed; without --force nothing is lost, what the damaged image still showed is there
# afterwards, and a second time nothing is done; with --force QEMU opens the result and finds it clean, as does qcbm; the disk is
# as it was before the damage, but for the ranges whose place the damage itself destroyed; bitmaps are as they were, but for
# what they have to have more now; undo gives the damaged file back.
#
# usage: repair_mutations.py [--cases N] [--seed S] [--kind K] [--shape S] [--keep] [--qemu]
#        repair_mutations.py --make FOLDER [--seed S]    (a damaged image of each kind, for tests/crash)
# --qemu does the same to "qemu-img check -r all", for the table in docs/repair.md, and fails for nothing.
#
# Environment: QCBM = path of the tool.

import argparse
import collections
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import traceback

import qtool
from qtool import Failure, KiB, MiB, Qcow2, patch, peek, require, require_equal

COPIED, ZERO, COMPRESSED = 1 << 63, 1, 1 << 62
MASK = 0x00fffffffffffe00
DIRTY, CORRUPT = 1, 2


def u64(value):
    return struct.pack('>Q', value)


# ---- shapes: how the images are made that are damaged ---------------------------------------------------------------

def fill(work, rng, size, n):
    commands = []
    for _ in range(n):
        at, length = rng.randrange(0, size // 4096) * 4096, rng.randrange(1, 40) * 4096
        length = min(length, size - at)
        commands.append('write -q -P %d %d %d' % (rng.randrange(1, 255), at, length))
    commands.append('write -q -z %d %d' % (size // 2, 256 * KiB))
    work.io('x.qcow2', *commands)


def make(work, options='', size=32 * MiB, backing=False, snapshots=0, bitmaps=2, compressed=False):
    rng = random.Random(7)
    if backing:
        work.create('base.qcow2', size)
        work.io('base.qcow2', 'write -q -P 9 0 %d' % size)
    if compressed:
        work.create('plain.qcow2', size)
        work.io('plain.qcow2', *['write -q -P %d %d 1M' % (k + 1, 2 * k * MiB) for k in range(8)])
        work.run('qemu-img', 'convert', '-q', '-c', '-O', 'qcow2', '-o', options or 'cluster_size=65536', 'plain.qcow2',
                 'x.qcow2')
    else:
        work.create('x.qcow2', size, options, backing='base.qcow2' if backing else None)
    fill(work, rng, size, 10)
    for k in range(snapshots):
        work.run('qemu-img', 'snapshot', '-c', 's%d' % k, 'x.qcow2')
        fill(work, rng, size, 4)
    for k in range(bitmaps):
        work.run('qemu-img', 'bitmap', '--add', '-g', '%dk' % (4 << k), 'x.qcow2', 'b%d' % k)
        fill(work, rng, size, 2)


SHAPES = {
    'plain-64k': dict(),
    'plain-4k': dict(options='cluster_size=4096'),
    'plain-512': dict(options='cluster_size=512', size=4 * MiB),
    'subclusters': dict(options='extended_l2=on,cluster_size=16384'),
    'compressed': dict(compressed=True, options='cluster_size=16384'),
    'snapshots': dict(options='cluster_size=4096', snapshots=2, bitmaps=0),
    'snapshots-bitmaps': dict(options='cluster_size=65536', snapshots=2),
    'overlay': dict(options='cluster_size=4096', backing=True),
    'overlay-64k': dict(backing=True, snapshots=1),
    'version-2': dict(options='compat=0.10,cluster_size=4096', bitmaps=0, snapshots=1),
    'refcount-1': dict(options='refcount_bits=1,cluster_size=4096'),
    'refcount-64': dict(options='refcount_bits=64,cluster_size=4096', snapshots=1),
    'lazy': dict(options='lazy_refcounts=on,cluster_size=4096'),
}


class Truth:
    """What an image holds before it is damaged."""

    def __init__(self, work):
        image = Qcow2(work.path('x.qcow2'))
        self.size, self.snapshots = image.size, []
        self.disks = {None: self.disk(work, None)}
        if image.nb_snapshots:
            for line in work.run('qemu-img', 'snapshot', '-l', 'x.qcow2').out.splitlines()[2:]:
                self.snapshots.append(line.split()[1])
                self.disks[self.snapshots[-1]] = self.disk(work, self.snapshots[-1])
        self.bitmaps = served(work)

    @staticmethod
    def disk(work, snapshot):
        name = 'disk-%s.raw' % snapshot
        work.run('qemu-img', 'convert', '-O', 'raw', *(['-l', snapshot] if snapshot else []), 'x.qcow2', name)
        return work.path(name)


def served(work):
    """Name of each bitmap -> its dirty ranges, as nbdinfo has them from qemu-nbd; qcbm must say the same."""
    image = Qcow2(work.path('x.qcow2'))
    names = [b.name.decode() for b in (image.bitmaps() if image.nb_bitmaps else []) if not b.in_use]
    found = qtool.served_dirty(work, 'x.qcow2', names)
    for name in names:
        said = json.loads(work.qcbm('extents', '--output=json', 'x.qcow2', name).out)
        mine = qtool.ranges_norm([(e['offset'], e['offset'] + e['length']) for e in said if e['type'] == 1])
        require_equal(mine, found[name], 'dirty ranges of ' + name)
    return found


# ---- damage ----------------------------------------------------------------------------------------------------------

class Damage:
    def __init__(self, path, rng):
        self.path, self.rng, self.image = path, rng, Qcow2(path)
        self.lost = []              # ranges of the disk whose mapping is destroyed
        self.lost_snapshots = set()  # indexes
        self.hurt = set()           # bitmaps that may get more bits than they had
        self.lost_bitmaps = False
        self.silent = False         # QEMU's check does not know it
        self.differ = []            # ranges of the disk that are not as they were, after the repair
        i = self.image
        self.cs, self.esize = i.cluster_size, 16 if i.extended_l2 else 8
        self.per_l2 = self.cs // self.esize
        self.span = self.per_l2 * self.cs
        self.l1 = [(k, e & MASK) for k, e in enumerate(i.words(i.l1_offset, i.l1_size)) if e & MASK]

    def put(self, at, *words):
        patch(self.path, at, b''.join(u64(w & (1 << 64) - 1) for w in words))

    def entries(self, wanted):
        """(guest, place, raw, word) of L2 entries of the active state."""
        found = []
        for index, table in self.l1:
            raw = self.image.words(table, self.cs // 8)
            for k in range(self.per_l2):
                e, word = (raw[2 * k], raw[2 * k + 1]) if self.esize == 16 else (raw[k], 0)
                if (e or word) and wanted(e):
                    found.append((index * self.span + k * self.cs, table + k * self.esize, e, word))
        return found

    def entry(self, wanted=lambda e: e & MASK and not e & COMPRESSED):
        found = self.entries(wanted)
        if not found:
            raise Impossible
        return self.rng.choice(found)

    def l1_entry(self):
        index, table = self.rng.choice(self.l1)
        return index, self.image.l1_offset + 8 * index, table

    def lose(self, guest, length=None):
        self.lost.append((guest, min(guest + (length or self.cs), self.image.size)))

    def block(self):
        """(index in the refcount table, offset) of a refcount block."""
        words = self.image.words(self.image.reftable_offset, self.image.reftable_clusters * self.cs // 8)
        return self.rng.choice([(k, w) for k, w in enumerate(words) if w])

    def uncount(self, off):
        """One reference less to the cluster at @off."""
        bits = 1 << self.image.refcount_order
        block = self.image.words(self.image.reftable_offset + 8 * (off // self.cs // (self.cs * 8 // bits)), 1)[0]
        k = off // self.cs % (self.cs * 8 // bits)
        if bits < 8:
            raw = peek(self.path, block + k * bits // 8, 1)[0]
            patch(self.path, block + k * bits // 8, bytes([raw & ~(1 << k * bits % 8)]))
        else:
            raw = int.from_bytes(peek(self.path, block + k * bits // 8, bits // 8), 'big')
            patch(self.path, block + k * bits // 8, (raw - 1).to_bytes(bits // 8, 'big'))

    def beyond(self):
        end = -(-self.image.file_size // self.cs) * self.cs
        return self.rng.choice([end, end + 16 * self.cs, 1 << 40, (1 << 55) - self.cs])

    def snapshot_entry(self):
        if not self.image.nb_snapshots:
            raise Impossible
        k, at = self.rng.randrange(self.image.nb_snapshots), self.image.snapshots_offset
        for i in range(k + 1):
            id_len, name_len = struct.unpack('>HH', self.image.read(at + 12, 4))
            extra = struct.unpack('>I', self.image.read(at + 36, 4))[0]
            length = 40 + extra + id_len + name_len
            if i == k:
                return k, at, length
            at += -(-length // 8) * 8


class Impossible(Exception):
    """This kind of damage cannot be done to this image."""


KINDS = {}


def kind(f):
    KINDS[f.__name__.replace('_', '-')] = f
    return f


@kind
def refblock_zeroed(d):
    patch(d.path, d.block()[1], bytes(d.cs))


@kind
def refblock_random(d):
    patch(d.path, d.block()[1], d.rng.randbytes(d.cs))


@kind
def refblock_sector(d):
    at = d.block()[1]
    block = d.image.read(at, d.cs)
    used = [k for k in range(0, d.cs, 512) if any(block[k:k + 512])]
    patch(d.path, at + d.rng.choice(used), d.rng.choice([bytes(512), d.rng.randbytes(512), b'log line\n' * 56 + b'12345678']))


@kind
def refcounts_off(d):
    index, at = d.block()
    bits = 1 << d.image.refcount_order
    inside = min(d.cs, (d.image.file_size // d.cs - index * d.cs * 8 // bits) * bits // 8)
    if inside < 1:
        raise Impossible
    for _ in range(d.rng.randrange(1, 6)):
        byte = at + d.rng.randrange(0, inside)
        patch(d.path, byte, bytes([peek(d.path, byte, 1)[0] ^ 1 << d.rng.randrange(8)]))


@kind
def reftable_reserved(d):
    k, at = d.block()
    d.put(d.image.reftable_offset + 8 * k, at | 1 << d.rng.randrange(9))


@kind
def reftable_unaligned(d):
    k, at = d.block()
    if d.cs == 512:
        raise Impossible
    d.put(d.image.reftable_offset + 8 * k, at + 512)


@kind
def reftable_far(d):
    d.put(d.image.reftable_offset + 8 * d.block()[0], d.beyond())


@kind
def reftable_circular(d):
    d.put(d.image.reftable_offset + 8 * d.block()[0], d.image.reftable_offset)


@kind
def reftable_zeroed(d):
    patch(d.path, d.image.reftable_offset, bytes(d.image.reftable_clusters * d.cs))


@kind
def reftable_text(d):
    patch(d.path, d.image.reftable_offset, b'some text that is no table at all' * 30)


@kind
def reftable_to_data(d):
    d.put(d.image.reftable_offset + 8 * d.block()[0], d.entry()[2] & MASK)


@kind
def leaks(d):
    """As a cut in a write leaves them."""
    bits = 1 << d.image.refcount_order
    index, at = d.block()
    first = index * d.cs * 8 // bits
    raw = bytearray(d.image.read(at, d.cs))
    done = 0
    for k in range(d.cs * 8 // bits):
        if done == 3 or first + k >= d.image.file_size // d.cs:
            break
        if bits < 8:
            free = not raw[k * bits // 8] >> k * bits % 8 & (1 << bits) - 1
        else:
            free = not any(raw[k * bits // 8:(k + 1) * bits // 8])
        if free:
            if bits < 8:
                raw[k * bits // 8] |= 1 << k * bits % 8
            else:
                raw[(k + 1) * bits // 8 - 1] = 1
            done += 1
    if not done:
        raise Impossible
    patch(d.path, at, bytes(raw))


@kind
def copied_l2(d):
    for _ in range(d.rng.randrange(1, 9)):
        _, at, raw, _ = d.entry()
        d.put(at, struct.unpack('>Q', peek(d.path, at, 8))[0] ^ COPIED)


@kind
def copied_l1(d):
    _, at, _ = d.l1_entry()
    d.put(at, struct.unpack('>Q', peek(d.path, at, 8))[0] ^ COPIED)


@kind
def dirty_bit(d):
    if d.image.version < 3:
        raise Impossible
    d.put(72, d.image.incompatible | DIRTY)
    d.silent = True


@kind
def corrupt_bit(d):
    if d.image.version < 3:
        raise Impossible
    d.put(72, d.image.incompatible | CORRUPT)
    d.silent = True


@kind
def l1_reserved(d):
    _, at, table = d.l1_entry()
    d.put(at, struct.unpack('>Q', peek(d.path, at, 8))[0] | 1 << d.rng.choice([0, 3, 8, 56, 60, 62]))


@kind
def l1_unaligned(d):
    if d.cs == 512:
        raise Impossible
    index, at, table = d.l1_entry()
    d.put(at, table | COPIED | 512)


@kind
def l1_past_end(d):
    index, at, _ = d.l1_entry()
    d.put(at, d.beyond() | COPIED)
    d.lose(index * d.span, d.span)


@kind
def l2_reserved(d):
    _, at, raw, _ = d.entry()
    d.put(at, raw | 1 << d.rng.choice([1, 4, 8, 56, 59, 61]))


@kind
def l2_unaligned(d):
    if d.cs == 512:
        raise Impossible
    _, at, raw, _ = d.entry()
    d.put(at, raw | 512)


@kind
def l2_past_end(d):
    guest, at, raw, _ = d.entry()
    d.put(at, d.beyond() | raw & ~MASK)
    d.lose(guest)


@kind
def l2_compressed_copied(d):
    _, at, raw, _ = d.entry(lambda e: e & COMPRESSED)
    d.put(at, raw | COPIED)


@kind
def l2_subclusters_both(d):
    if d.esize != 16:
        raise Impossible
    guest, at, raw, word = d.entry(lambda e: e & MASK and not e & COMPRESSED)
    allocated = [k for k in range(32) if word >> k & 1]
    if not allocated:
        raise Impossible
    d.put(at + 8, word | 1 << 32 + d.rng.choice(allocated))  # beside a part that is not, it would be a sound zero
    d.lose(guest)


@kind
def l2_subclusters_nowhere(d):
    if d.esize != 16:
        raise Impossible
    guest, at, raw, word = d.entry(lambda e: e & MASK and not e & COMPRESSED)
    d.put(at, 0, word)
    d.lose(guest)


@kind
def l2_compressed_word(d):
    if d.esize != 16:
        raise Impossible
    guest, at, raw, word = d.entry(lambda e: e & MASK)
    d.put(at, raw & ~COPIED | COMPRESSED)  # not decodable any more
    d.lose(guest)


@kind
def l2_zero_flag(d):
    if d.image.version != 2:
        raise Impossible
    _, at, raw, _ = d.entry()
    d.put(at, raw | ZERO)
    d.silent = True


@kind
def l2_sector_overwritten(d):
    index, _, table = d.l1_entry()
    k = d.rng.randrange(d.cs // 512)
    text = b'Nov 27 15:00:00 host kernel: message number %d of many\n'
    patch(d.path, table + 512 * k, d.rng.choice([(text * 10)[:512], d.rng.randbytes(512)]))
    d.lose(index * d.span + 512 * k // d.esize * d.cs, 512 // d.esize * d.cs)


@kind
def l2_overwritten(d):
    index, _, table = d.l1_entry()
    patch(d.path, table, d.rng.choice([d.rng.randbytes(d.cs), (b'0123456789abcdef' * d.cs)[:d.cs]]))
    d.lose(index * d.span, d.span)


@kind
def l2_to_data(d):
    guest, at, raw, _ = d.entry()
    other = d.entry(lambda e: e & MASK and not e & COMPRESSED and e & MASK != raw & MASK)
    d.put(at, raw & ~MASK | other[2] & MASK)
    d.lose(guest)


@kind
def l2_to_data_alone(d):
    """As a refcount and an entry that were lost leave it: nothing leaks."""
    guest, at, raw, _ = d.entry(lambda e: e & MASK and e & COPIED)
    other = d.entry(lambda e: e & MASK and e & COPIED and e & MASK != raw & MASK)
    d.put(at, raw & ~MASK | other[2] & MASK)
    d.uncount(raw & MASK)
    d.lose(guest)


@kind
def l2_to_table(d):
    guest, at, raw, _ = d.entry()
    d.put(at, raw & ~MASK | d.rng.choice(d.l1)[1])
    d.lose(guest)


@kind
def l2_to_refcounts(d):
    guest, at, raw, _ = d.entry()
    d.put(at, raw & ~MASK | d.rng.choice([d.block()[1], d.image.reftable_offset]))
    d.lose(guest)


@kind
def l2_to_l1(d):
    guest, at, raw, _ = d.entry()
    d.put(at, raw & ~MASK | d.image.l1_offset)
    d.lose(guest)


@kind
def l1_to_data(d):
    index, at, _ = d.l1_entry()
    d.put(at, d.entry()[2] & MASK | COPIED)
    d.lose(index * d.span, d.span)


@kind
def l1_to_other(d):
    index, at, _ = d.l1_entry()
    others = [t for k, t in d.l1 if k != index]
    if not others:
        raise Impossible
    d.put(at, d.rng.choice(others) | COPIED)
    d.lose(index * d.span, d.span)


@kind
def snapshot_l1_unaligned(d):
    k, at, _ = d.snapshot_entry()
    d.put(at, d.image.words(at, 1)[0] + d.rng.choice([1, 8, 256]))
    d.lost_snapshots.add(k)


@kind
def snapshot_l1_size(d):
    k, at, _ = d.snapshot_entry()
    patch(d.path, at + 8, struct.pack('>I', 1 << 30))
    d.lost_snapshots.add(k)


@kind
def snapshot_extra(d):
    k, at, _ = d.snapshot_entry()
    patch(d.path, at + 36, struct.pack('>I', 4096))
    d.lost_snapshots.add(k)


@kind
def snapshot_zeroed(d):
    k, at, length = d.snapshot_entry()
    patch(d.path, at, bytes(-(-length // 8) * 8))
    d.lost_snapshots.add(k)
    d.silent = True


@kind
def file_cut(d):
    """Data at the end of the file is gone; what is needed to read the rest is not."""
    i = d.image
    end = i.file_size // d.cs
    cut = (end - d.rng.randrange(1, max(2, end // 20))) * d.cs
    needed = [i.l1_offset + 8 * i.l1_size, i.directory_offset + i.directory_size, i.snapshots_offset + 1]
    needed += [t + d.cs for _, t in d.l1]
    for b in i.bitmaps() if i.nb_bitmaps else []:
        needed += [b.table_offset + 8 * b.table_size] + [(e & MASK) + d.cs for e in b.table if e & MASK]
    if max(needed) > cut or i.nb_snapshots:
        raise Impossible
    for guest, _, raw, _ in d.entries(lambda e: e & MASK):
        if raw & COMPRESSED or (raw & MASK) + d.cs > cut:
            d.lose(guest)
    os.truncate(d.path, cut)


# ---- of bitmaps ------------------------------------------------------------------------------------------------------

def bitmap_of(d):
    if not d.image.nb_bitmaps:
        raise Impossible
    return d.rng.choice(d.image.bitmaps())


def extension(d, offset, value):
    if not d.image.nb_bitmaps:
        raise Impossible
    patch(d.path, d.image.bitmaps_offset() + 8 + offset, value)


def hurt(d, one):
    d.hurt.add(one.name.decode())


@kind
def bitmap_flags(d):
    one = bitmap_of(d)
    patch(d.path, one.entry_offset + 12, struct.pack('>I', one.flags | 1 << d.rng.randrange(3, 32)))


@kind
def bitmap_in_use(d):
    one = bitmap_of(d)
    patch(d.path, one.entry_offset + 12, struct.pack('>I', one.flags | 1))
    hurt(d, one)


@kind
def bitmap_entry(d):
    one = bitmap_of(d)
    offset, value = d.rng.choice([(0, u64(one.table_offset + 8)), (8, struct.pack('>I', one.table_size + 1)), (16, bytes([2])),
                                  (17, bytes([d.rng.choice([3, 32, 255])])), (0, bytes(24))])
    patch(d.path, one.entry_offset + offset, value)
    hurt(d, one)


@kind
def bitmap_name(d):
    one = bitmap_of(d)
    patch(d.path, one.entry_offset + 24, b'b1' if one.name == b'b0' else b'b0')  # that of the other
    d.lost_bitmaps = True


@kind
def bitmap_table(d):
    one = bitmap_of(d)
    k = d.rng.randrange(one.table_size)
    d.put(one.table_offset + 8 * k, d.rng.choice([1 << 56 | one.table[k], one.table[k] | 256, d.beyond()]))
    hurt(d, one)


@kind
def bitmap_to_data(d):
    one = bitmap_of(d)
    d.put(one.table_offset + 8 * d.rng.randrange(one.table_size), d.entry()[2] & MASK)
    hurt(d, one)


@kind
def bitmap_to_refcounts(d):
    one = bitmap_of(d)
    d.put(one.table_offset + 8 * d.rng.randrange(one.table_size), d.rng.choice([d.block()[1], d.image.reftable_offset]))
    hurt(d, one)


def place_of(d, one):
    return d.rng.choice([one.table_offset, d.image.directory_offset] + [e & MASK for e in one.table if e & MASK])


@kind
def l2_to_bitmap(d):
    one = bitmap_of(d)
    guest, at, raw, _ = d.entry()
    d.put(at, raw & ~MASK | place_of(d, one))
    d.lose(guest)
    hurt(d, one)


@kind
def reftable_to_bitmap(d):
    one = bitmap_of(d)
    d.put(d.image.reftable_offset + 8 * d.block()[0], place_of(d, one))
    hurt(d, one)


@kind
def bitmap_uncounted(d):
    one = bitmap_of(d)
    for at in [one.table_offset] + [e & MASK for e in one.table if e & MASK]:
        d.uncount(at)


@kind
def bitmap_extension(d):
    offset, value = d.rng.choice([(-4, struct.pack('>I', d.rng.choice([0, 16, 23, 32, 1 << 30]))), (0, struct.pack('>I', 9)),
                                  (0, bytes(4)), (4, b'\0\0\0\1'), (8, u64(16)), (8, u64(1 << 50)), (8, bytes(8))])
    extension(d, offset, value)


@kind
def bitmap_directory(d):
    if not d.image.nb_bitmaps:
        raise Impossible
    patch(d.path, d.image.directory_offset, d.rng.choice([bytes(d.image.directory_size), d.rng.randbytes(d.image.directory_size)]))
    d.lost_bitmaps = True


@kind
def bitmaps_stale(d):
    if not d.image.nb_bitmaps:
        raise Impossible
    d.put(88, 0)
    d.hurt.update(b.name.decode() for b in d.image.bitmaps())
    d.silent = True


@kind
def bitmaps_alone(d):
    extension(d, -8, struct.pack('>I', 0x12345678))
    d.lost_bitmaps = d.silent = True


# ---- one case --------------------------------------------------------------------------------------------------------

FACTS = ['noticed', 'codes', 'refused', 'repaired', 'opens', 'clean', 'at once', 'kept', 'silent', 'bitmaps', 'disk', 'snapshots', 'undone']


def outside(pieces, lost):
    """Do all of the ranges that differ lie in what may?"""
    return all(any(a <= start and end <= b for a, b in lost) for start, end in pieces)


def judge_content(work, truth, damage, facts):
    lost = qtool.ranges_norm(damage.lost)
    done = work.run('qemu-img', 'convert', '-O', 'raw', 'x.qcow2', 'now.raw', rc=None)
    facts['opens'] = done.code == 0
    if done.code:
        facts['disk'] = False
        return
    differ = damage.differ = qtool.differing_ranges(truth.disks[None], work.path('now.raw'), truth.size)
    facts['disk'] = outside(differ, lost)
    if not facts['disk']:
        work.note('# differs: %r, lost: %r' % (differ[:4], lost[:4]))
    kept = [s for k, s in enumerate(truth.snapshots) if k not in damage.lost_snapshots]
    facts['snapshots'] = True
    for s in kept:
        done = work.run('qemu-img', 'convert', '-O', 'raw', '-l', s, 'x.qcow2', 'now.raw', rc=None)
        same = done.code == 0 and outside(qtool.differing_ranges(truth.disks[s], work.path('now.raw'), truth.size), lost)
        facts['snapshots'] &= same


def bitmaps_same(work, truth, damage, marked):
    """With @marked ranges that changed are dirty, too, and each that did is. Of those that were hurt no bit is missing."""
    if damage.lost_bitmaps:
        return True
    now = served(work)
    for name, was in truth.bitmaps.items():
        if name not in now or (now[name] != was and not marked and name not in damage.hurt):
            return False
        if qtool.ranges_minus(qtool.ranges_norm(was + (damage.differ if marked else [])), now[name], truth.size):
            return False
    return True


def shown(work, truth):
    """What can be read of each state."""
    found = {}
    for state in truth.disks:
        done = work.run('qemu-img', 'convert', '-O', 'raw', *(['-l', state] if state else []), 'x.qcow2', 'now.raw', rc=None)
        if done.code == 0:
            found[state] = qtool.digest(work.path('now.raw'))
    return found


def repair_by_qcbm(work, truth, damage, facts):
    before = shown(work, truth)
    first = work.qcbm('check', '-r', 'all', '--undo', 'u1', 'x.qcow2', rc=None)
    once, after, said = qtool.digest(work.path('x.qcow2')), shown(work, truth), first.err
    facts['kept'] = all(after.get(state) == was for state, was in before.items())
    if not damage.lost_bitmaps:  # what those had is kept once, and looks like other leaks from then on
        again = work.qcbm('check', '-r', 'all', 'x.qcow2', rc=None)
        facts['kept'] &= again.code == first.code and qtool.digest(work.path('x.qcow2')) == once
    undo = ['u1'] if os.path.exists(work.path('u1')) else []
    facts['at once'] = facts['repaired'] = first.code == 0
    facts['refused'] = first.code == 1
    if first.code:  # something is, or may be, lost
        second = work.qcbm('check', '-r', 'all', '--force', '--undo', 'u2', 'x.qcow2', rc=None)
        undo += ['u2'] if os.path.exists(work.path('u2')) else []
        facts['repaired'] = second.code == 0
        said += second.err
    return undo, '[bitmaps-marked]' in said


def judge(work, truth, damage, by_qemu):
    facts = dict.fromkeys(FACTS, True)
    before = qtool.digest(work.path('x.qcow2'))
    found = work.qcbm('check', '--strict', 'x.qcow2', rc=None)
    theirs = work.run('qemu-img', 'check', 'x.qcow2', rc=None)
    facts['noticed'] = (found.code if not by_qemu else theirs.code) != 0
    plain = work.qcbm('check', 'x.qcow2', rc=None)
    facts['codes'] = plain.code == theirs.code or theirs.code not in (0, 2, 3)  # else QEMU does not open it
    facts['refused'] = False
    undo, marked = [], False
    if by_qemu:
        facts['repaired'] = work.run('qemu-img', 'check', '-r', 'all', 'x.qcow2', rc=None).code == 0
    else:
        undo, marked = repair_by_qcbm(work, truth, damage, facts)
    clean = work.run('qemu-img', 'check', 'x.qcow2', rc=None)
    facts['clean'] = clean.code == 0 and clean.err == ''
    facts['silent'] = work.qcbm('check', '--strict', 'x.qcow2', rc=None).code == 0
    judge_content(work, truth, damage, facts)
    facts['bitmaps'] = facts['opens'] and bitmaps_same(work, truth, damage, marked)
    for name in reversed(undo):
        work.qcbm('undo', '-q', 'x.qcow2', name, rc=None)
    facts['undone'] = by_qemu or qtool.digest(work.path('x.qcow2')) == before
    return facts


def options():
    p = argparse.ArgumentParser()
    p.add_argument('--cases', type=int, default=80)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--kind')
    p.add_argument('--shape')
    p.add_argument('--keep', action='store_true')
    p.add_argument('--qemu', action='store_true')
    p.add_argument('--make', metavar='FOLDER')
    return p.parse_args()


class Corpus:
    def __init__(self, args, top):
        self.args, self.top, self.truths = args, top, {}
        self.table = collections.defaultdict(collections.Counter)
        self.bad = 0

    def shape(self, name):
        if name not in self.truths:
            os.mkdir(os.path.join(self.top, name))
            work = qtool.Work(os.path.join(self.top, name))
            make(work, **SHAPES[name])
            self.truths[name] = Truth(work)
        return self.truths[name]

    def case(self, number, shape, kind_name):
        truth = self.shape(shape)
        folder = os.path.join(self.top, 'case')
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        work = qtool.Work(folder)
        for name in os.listdir(os.path.join(self.top, shape)):
            if name.endswith('.qcow2') and name != 'plain.qcow2':
                qtool.copy_sparse(os.path.join(self.top, shape, name), work.path(name))
        damage = Damage(work.path('x.qcow2'), random.Random('%d %d %s %s' % (self.args.seed, number, shape, kind_name)))
        before = qtool.digest(work.path('x.qcow2'))
        try:
            KINDS[kind_name](damage)
        except Impossible:
            return False
        if qtool.digest(work.path('x.qcow2')) == before:
            return False
        if self.args.keep:
            qtool.copy_sparse(work.path('x.qcow2'), work.path('damaged.qcow2'))
        self.note(number, shape, kind_name, judge(work, truth, damage, self.args.qemu), work)
        return True

    def note(self, number, shape, kind_name, facts, work):
        row = self.table[kind_name]
        row['cases'] += 1
        for fact in FACTS:
            row[fact] += facts[fact]
        wrong = [f for f in FACTS if not facts[f] and f not in ('at once', 'refused')]
        if wrong and not self.args.qemu:
            self.bad += 1
            print('not ok - case %d, seed %d, --shape %s --kind %s: %s\n    %s'
                  % (number, self.args.seed, shape, kind_name, ', '.join(wrong), '\n    '.join(work.log[-14:])))
            sys.stdout.flush()
            if self.args.keep:
                kept = os.path.join(self.top, 'bad-%d' % number)
                shutil.copytree(work.dir, kept)

    def make(self, number, shape, kind_name, folder):
        """A damaged image that is small enough to be repaired very often."""
        top = os.path.join(self.top, shape)
        if not os.path.exists(top):
            os.mkdir(top)
            make(qtool.Work(top), **dict(SHAPES[shape], size=4 * MiB))
        path = os.path.join(folder, '%s-%s.qcow2' % (kind_name, shape))
        qtool.copy_sparse(os.path.join(top, 'x.qcow2'), path)
        try:
            KINDS[kind_name](Damage(path, random.Random('%d %d' % (self.args.seed, number))))
            return qtool.digest(path) != qtool.digest(os.path.join(top, 'x.qcow2'))
        except Impossible:
            os.unlink(path)
            return False

    def make_all(self, folder):
        """Of each kind one, on a shape that needs no other file."""
        alone = [s for s in SHAPES if not SHAPES[s].get('backing') and not SHAPES[s].get('compressed')]
        rng = random.Random(self.args.seed)
        for number, kind_name in enumerate(KINDS):
            for shape in rng.sample(alone, len(alone)):
                if self.make(number, shape, kind_name, folder):
                    break

    def show(self):
        print('%-24s %6s  %s' % ('kind', 'cases', ' '.join('%9s' % f for f in FACTS)))
        total = collections.Counter()
        for name in [k for k in KINDS if k in self.table]:
            total.update(self.table[name])
            print('%-24s %6d  %s' % (name, self.table[name]['cases'],
                                     ' '.join('%9d' % self.table[name][f] for f in FACTS)))
        print('%-24s %6d  %s' % ('all', total['cases'], ' '.join('%9d' % total[f] for f in FACTS)))


def main():
    args = options()
    qtool.QCBM = qtool.qcbm_path()
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    kinds = [args.kind] if args.kind else list(KINDS)
    shapes = [args.shape] if args.shape else list(SHAPES)
    top = tempfile.mkdtemp(prefix='repair-')
    corpus, rng, done, number = Corpus(args, top), random.Random(args.seed), 0, 0
    if args.make:
        corpus.make_all(args.make)
        shutil.rmtree(top)
        return 0
    try:
        # each kind in turn, on a shape by lot
        while done < args.cases // qtool.test_part() and number < 20 * args.cases + 1000:
            done += corpus.case(number, rng.choice(shapes), kinds[number % len(kinds)])
            number += 1
    finally:
        corpus.show()
        if args.keep:
            print('kept in ' + top)
        else:
            shutil.rmtree(top)
    print('%d cases, seed %d, %d wrong' % (done, args.seed, corpus.bad))
    return 1 if corpus.bad or not done else 0


if __name__ == '__main__':
    sys.exit(main())
