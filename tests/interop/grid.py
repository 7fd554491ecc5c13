#!/usr/bin/env python3
# grid.py - `qcbm synth` over a grid of image shapes, bit by bit against the write log and against qemu
#
# SPDX-License-Identifier: MIT
#
# Every case makes an image with qemu-img and qemu-io, works out from the commands it gave which clusters must be
# allocated, makes sure that qemu-img map and qemu-nbd's allocation depth say the same (else the test is wrong, not the
# tool), lets `qcbm synth` attach a bitmap, and compares what qemu-nbd serves with the expectation, extent for extent.
# The factors are combined so that every possible pair of levels occurs; more combinations are drawn at random.

import itertools
import json
import random
import shutil

from qtool import (EXT_FEATURES, GiB, KiB, MiB, TiB, Qcow2, arguments, clear_feature_bits, copy_sparse,
                   default_granularity, digest, extents_to_ranges, inject_extension, need_tools, patch, ranges_clip,
                   ranges_inward, ranges_or, ranges_outward, ranges_total, require, require_equal, require_kept,
                   rewrite_first_cluster, run_cases, served_depth, served_dirty, set_feature_bits, SECRET)

# ---- the factors ------------------------------------------------------------------------------------------------

FACTORS = {
    'shape': ['512', '4k', '64k', '2M', '16k-ext', '64k-ext', '2M-ext'],
    'refcount': [1, 2, 4, 8, 16, 32, 64],
    'size': ['aligned', 'odd', 'odd-large', 'huge'],
    'writes': ['plain', 'partial', 'zlib', 'zstd', 'zero', 'zero-unmap', 'discard', 'mixed'],
    'granularity': ['default', 'below', 'at', 'above', 'far-above'],
    'backing': ['none', 'equal', 'shorter', 'longer'],
    'store': ['plain', 'data-file', 'luks'],
    'snapshot': ['no', 'yes'],
    'others': ['none', 'enabled', 'disabled', 'both'],
    'foreign': ['none', 'front', 'back', 'long'],
    'state': ['enabled', 'disabled'],
}
CLUSTER = {'512': 512, '4k': 4 * KiB, '64k': 64 * KiB, '2M': 2 * MiB, '16k-ext': 16 * KiB, '64k-ext': 64 * KiB,
           '2M-ext': 2 * MiB}


def pair_is_possible(a, x, b, y):
    have = {a: x, b: y}

    def both(first, firsts, second, seconds):
        return have.get(first) in firsts and have.get(second) in seconds
    compressed = ('zlib', 'zstd')
    return not (both('writes', compressed, 'store', ('data-file', 'luks'))    # qemu has neither
                or both('snapshot', ('yes',), 'refcount', (1,))
                or both('snapshot', ('yes',), 'store', ('data-file',))
                or both('granularity', ('below',), 'shape', ('512',))
                or both('foreign', ('long',), 'shape', ('512',)))


def is_possible(levels):
    compressed = levels['writes'] in ('zlib', 'zstd')
    if compressed and levels['snapshot'] == 'yes' and levels['refcount'] < 8:
        return False  # compressed clusters share host clusters: narrow refcounts overflow, qemu refuses the snapshot
    if levels['store'] == 'luks' and levels['size'] == 'huge' and CLUSTER[levels['shape']] == 2 * MiB:
        return False  # qemu-img 7.2 map aborts (assertion in bdrv_co_block_status)
    if levels['shape'] == '512' and levels['size'] == 'huge' and levels['snapshot'] == 'yes':
        return False  # qemu-img snapshot needs minutes
    return all(pair_is_possible(a, levels[a], b, levels[b]) for a, b in itertools.combinations(FACTORS, 2))


def pairs_of(levels):
    return {(a, levels[a], b, levels[b]) for a, b in itertools.combinations(FACTORS, 2)}


def draw(rng, fixed=None, luks=True):
    while True:
        levels = {name: rng.choice(values) for name, values in FACTORS.items()}
        levels.update(fixed or {})
        if is_possible(levels) and (luks or levels['store'] != 'luks' or (fixed or {}).get('store') == 'luks'):
            return levels


def choose_combinations(seed, total, luks_limit):
    """All pairs, greedily; then random ones up to total. LUKS images cost qemu-img seconds each: beyond those that the
    pairs take, they are few."""
    rng = random.Random(seed)
    open_pairs = {(a, x, b, y) for a, b in itertools.combinations(FACTORS, 2)
                  for x in FACTORS[a] for y in FACTORS[b] if pair_is_possible(a, x, b, y)}
    chosen = []
    while open_pairs:
        target = min(open_pairs, key=lambda pair: ('luks' not in pair, repr(pair)))
        fixed = {target[0]: target[1], target[2]: target[3]}
        best = max((draw(rng, fixed, luks=False) for _ in range(40)),
                   key=lambda levels: len(pairs_of(levels) & open_pairs))
        open_pairs -= pairs_of(best)
        chosen.append(best)
    luks = sum(levels['store'] == 'luks' for levels in chosen)
    while len(chosen) < total:
        levels = draw(rng, luks=luks < luks_limit)
        luks += levels['store'] == 'luks'
        chosen.append(levels)
    return chosen


# ---- what must be allocated -------------------------------------------------------------------------------------

class Model:
    """Allocation of one layer, from the guest's commands alone."""

    def __init__(self, size, cluster, extended, backing):
        self.size, self.cluster, self.backing, self.extended = size, cluster, backing, extended
        self.unit = cluster // 32 if extended else cluster
        self.allocated = []
        self.hosts = set()  # clusters that own host space

    def clusters(self, start, end):
        return range(start // self.cluster, -(-end // self.cluster))

    def write(self, start, length):
        self.allocated = ranges_or(self.allocated, ranges_outward([(start, start + length)], self.unit, self.size))
        self.hosts.update(self.clusters(start, start + length))

    def write_compressed(self, start, length):
        self.allocated = ranges_or(self.allocated, ranges_outward([(start, start + length)], self.cluster, self.size))
        self.hosts.update(self.clusters(start, start + length))

    def zero(self, start, length, unmap):
        self.allocated = ranges_or(self.allocated, ranges_outward([(start, start + length)], self.unit, self.size))
        whole = ranges_inward(start, start + length, self.cluster, self.size)
        if unmap and whole:
            self.hosts.difference_update(self.clusters(*whole))

    def discard(self, start, length):
        whole = ranges_inward(start, start + length, self.cluster, self.size)
        if whole is None:
            return
        if self.backing:
            self.allocated = ranges_or(self.allocated, [whole])
        else:
            # nothing to hide: only clusters with host space change. Those are allocated already; with subclusters
            # perhaps in part, and the discard completes them.
            done = [(c * self.cluster, (c + 1) * self.cluster) for c in self.clusters(*whole) if c in self.hosts]
            self.allocated = ranges_clip(ranges_or(self.allocated, done), self.size)
        self.hosts.difference_update(self.clusters(*whole))


class Guest:
    """Collects qemu-io commands and tells the model."""

    def __init__(self, rng, model, size, data_limit):
        self.rng, self.model, self.size, self.data_limit = rng, model, size, data_limit
        self.commands, self.late = [], []
        self.pattern = 0
        self.full = set()           # clusters that cannot take compressed data: qemu never overwrites with it
        self.compressed_now = set()  # compressed clusters, and whether one was freed in this session: qemu 7.2 may then
        self.freed_compressed = False  # put the next compressed data into a cluster that it gives away as well

    def clip(self, start, length):
        start = min(start, self.size - 512) // 512 * 512 if start >= self.size else start
        return start, min(length, self.size - start)

    def next_pattern(self):
        self.pattern = self.pattern % 250 + 1
        return self.pattern

    def touch(self, start, length):
        touched = set(self.model.clusters(start, start + length)) if length <= 8 * self.data_limit else self.compressed_now
        if touched & self.compressed_now:
            self.freed_compressed = True
            self.compressed_now -= touched
        return touched

    def write(self, start, length):
        start, length = self.clip(start, min(length, self.data_limit))
        self.full |= self.touch(start, length)
        self.commands.append('write -P %d %d %d' % (self.next_pattern(), start, length))
        self.model.write(start, length)

    def compressed(self, cluster_index, clusters):
        cluster = self.model.cluster
        start, length = self.clip(cluster_index * cluster, clusters * cluster)
        if start % cluster or length == 0:
            return
        while length > 0:  # one command a cluster, as qemu-img convert does
            piece = min(cluster, length)
            if start // cluster not in self.full and not self.freed_compressed:
                self.commands.append('write -c -P %d %d %d' % (self.next_pattern(), start, piece))
                self.model.write_compressed(start, piece)
                self.full.add(start // cluster)
                self.compressed_now.add(start // cluster)
            start, length = start + piece, length - piece

    def zero(self, start, length, unmap):
        start, length = self.clip(start, length)
        self.touch(start, length)
        for edge in (start, start + length):  # a part of a cluster may be written as data
            if edge % self.model.cluster:
                self.full.add(edge // self.model.cluster)
        self.commands.append('write -z %s%d %d' % ('-u ' if unmap else '', start, length))
        self.model.zero(start, length, unmap)

    def discard(self, start, length):
        start, length = self.clip(start, length)
        self.touch(start, length)
        if start % self.model.cluster == 0:
            self.full.difference_update(range(start // self.model.cluster, (start + length) // self.model.cluster))
        self.commands.append('discard %d %d' % (start, length))
        self.model.discard(start, length)

    def take(self):
        for start, length in self.late:
            self.write(start, length)
        self.late, self.freed_compressed = [], False
        out, self.commands = self.commands, []
        return out


def anchors(rng, size, cluster, extended):
    """Interesting cluster indices: the ends, the border of an L2 table, the middle, some others."""
    count = -(-size // cluster)
    per_table = cluster // (16 if extended else 8)
    found = {0, count // 2, count - 1, rng.randrange(count)}
    for border in (per_table, count // per_table * per_table):
        found.update(c for c in (border - 1, border) if 0 < c < count)
    found.add(rng.randrange(count))
    chosen = sorted(found)
    if len(chosen) > 3:
        chosen.remove(rng.choice(chosen[1:-1]))
    return chosen


def small(rng, cluster):
    return rng.choice([1, 512, 513, 4096, 5000, cluster // 32 or 16, cluster // 2, cluster - 1, cluster + 1])


def fill(guest, kind, rng, cluster, extended, whole_only):
    """Give the guest's commands of one kind. whole_only: nothing smaller than a cluster."""
    size, data = guest.size, guest.data_limit
    for index in anchors(rng, size, cluster, extended):
        start = index * cluster
        inside = 0 if whole_only else rng.randrange(0, cluster, 512)
        length = rng.choice([1, 1, 2, 3]) * cluster
        if length > data:
            length = cluster
        what = kind
        if kind == 'mixed':
            what = rng.choice(['plain', 'partial', 'compressed', 'zero', 'zero-unmap', 'discard', 'over', 'over'])
        if what in ('zlib', 'zstd'):
            what = 'compressed'
        if what == 'partial' and whole_only:
            what = 'plain'
        if what == 'compressed' and guest.no_compression:
            what = 'plain'
        if what == 'plain':
            guest.write(start, length)
        elif what == 'partial':
            where = min(start + rng.randrange(cluster), size - 1)
            guest.write(where, small(rng, cluster))
            if rng.random() < 0.5:
                guest.write(min(start + cluster - 512, size - 512), 1024)  # across a border
        elif what == 'compressed':
            guest.compressed(index, length // cluster)
            if rng.random() < 0.3 and not whole_only:
                guest.late.append((start + inside, 700))  # turns a compressed cluster into a plain one
        elif what in ('zero', 'zero-unmap'):
            if rng.random() < 0.5 and not whole_only:
                guest.write(start, cluster)
            big = 1000 * cluster if rng.random() < 0.2 and not guest.model.backing else 3 * cluster
            guest.zero(start + inside, rng.choice([512, cluster // 2, cluster, length, big]) if not whole_only
                       else length, what == 'zero-unmap')
        elif what == 'discard':
            if rng.random() < 0.7:
                guest.write(start + inside, cluster)
            guest.discard(start + rng.choice([0, 0, inside]), rng.choice([cluster, length, length + cluster // 2]))
        elif what == 'over':  # several kinds on one cluster, one after the other
            guest.write(start, cluster if whole_only else rng.choice([512, cluster]))
            guest.zero(start, cluster, rng.random() < 0.5)
            guest.discard(start, cluster)
            if not guest.no_compression:
                guest.compressed(index, 1)
                if rng.random() < 0.3:
                    guest.discard(start, cluster)
            if rng.random() < 0.5:
                guest.write(start, cluster)


# ---- one case ---------------------------------------------------------------------------------------------------

NAME = 'qcbm test'


def virtual_size(levels, cluster):
    if levels['size'] == 'aligned':
        return MiB if cluster < MiB else 16 * MiB
    if levels['size'] == 'odd':
        return MiB + 512
    if levels['size'] == 'odd-large':
        return 8 * MiB + 3 * 512
    return 4 * GiB if cluster == 512 else TiB  # the limit for 512-byte clusters is 128 GiB, but qemu-img needs minutes


def pick_granularity(level, cluster, size):
    if level == 'default':
        return default_granularity(cluster)
    g = {'below': max(512, cluster // 8), 'at': cluster, 'above': 4 * cluster, 'far-above': max(64 * cluster, MiB)}[level]
    while size // g > 1 << 27:  # keep qemu's memory small
        g *= 2
    return g


def luks_opts(name):
    return 'driver=qcow2,encrypt.key-secret=s0,file.driver=file,file.filename=' + name


def make_backing(work, rng, levels, size):
    """Returns (name, format)."""
    if levels['backing'] == 'none':
        return None, None
    other = {'equal': size, 'shorter': size * 5 // 8 // 512 * 512 or 512,
             'longer': size + rng.choice([512, 64 * KiB, MiB + 512])}[levels['backing']]
    fmt = rng.choice(['qcow2', 'qcow2', 'raw'])
    name = 'base.' + fmt
    at = sorted(rng.randrange(0, max(1, other - 70000)) // 512 * 512 for _ in range(3)) + [max(0, other - 3 * 512)]
    # 'value a' commands with patterns far from the guest's
    commands = ['write -P 251 %d %d' % (start, min(rng.choice([512, 65536, 70000]), other - start)) for start in at]
    if fmt == 'qcow2':
        work.create(name, other)
    else:
        work.run('truncate', '-s', other, name)
    work.io(name, *commands, fmt=fmt)
    return name, fmt


def make_image(work, levels, rng):
    """The image of a combination: its name, options of LUKS, model, size of a cluster, and names of its bitmaps."""
    shape = levels['shape']
    cluster, extended = CLUSTER[shape], shape.endswith('-ext')
    size = virtual_size(levels, cluster)
    image = 'overlay.qcow2'
    luks = levels['store'] == 'luks'
    opts = luks_opts(image) if luks else None

    options = ['cluster_size=%d' % cluster, 'refcount_bits=%d' % levels['refcount']]
    if extended:
        options.append('extended_l2=on')
    if levels['writes'] == 'zstd' or (levels['writes'] == 'mixed' and rng.random() < 0.5):
        options.append('compression_type=zstd')
    if levels['store'] == 'data-file':
        options.append('data_file=' + rng.choice(['data.raw', 'd' * rng.choice([30, 100]) + '.raw']))
    backing, backing_format = make_backing(work, rng, levels, size)
    work.create(image, size, ','.join(options), backing, backing_format, luks)

    target = SECRET + ['--image-opts', opts] if luks else ['-f', 'qcow2', image]
    others = {'none': [], 'enabled': ['on'], 'disabled': ['off'], 'both': ['on', 'off']}[levels['others']]
    for name in others:
        g = rng.choice([64 * KiB, MiB]) if levels['size'] == 'huge' else rng.choice([512, 4 * KiB, 64 * KiB, MiB])
        work.run('qemu-img', 'bitmap', '--add', '-g', g, *target, name)

    model = Model(size, cluster, extended, backing is not None)
    guest = Guest(rng, model, size, 4 * MiB if cluster >= MiB else 3 * cluster)
    guest.no_compression = levels['store'] != 'plain' or (levels['snapshot'] == 'yes' and levels['refcount'] < 8)
    fill(guest, levels['writes'], rng, cluster, extended, False)
    work.io(image, *guest.take(), opts=opts)
    if levels['snapshot'] == 'yes':
        work.run('qemu-img', 'snapshot', '-c', 'snap one', *(SECRET + ['--image-opts', opts] if luks else [image]))
        # a shared cluster of subclusters is copied from its first allocated one on: only whole clusters from here
        fill(guest, levels['writes'], rng, cluster, extended, extended)
        work.io(image, *guest.take(), opts=opts)
        if rng.random() < 0.5:
            work.run('qemu-img', 'snapshot', '-c', 'two', *(SECRET + ['--image-opts', opts] if luks else [image]))
    if 'off' in others:
        work.run('qemu-img', 'bitmap', '--disable', *target, 'off')
    inject_foreign(work, image, levels['foreign'], rng)
    return image, opts, model, cluster, others


def grid_case(work, levels, seed):
    rng = random.Random(seed)
    image, opts, model, cluster, others = make_image(work, levels, rng)
    size = model.size
    granularity = pick_granularity(levels['granularity'], cluster, size)
    verify_synth(work, image, model.allocated, size, cluster, rng=rng, opts=opts, others=others,
                 granularity=None if levels['granularity'] == 'default' else granularity,
                 disabled=levels['state'] == 'disabled')


def inject_foreign(work, image, level, rng):
    if level == 'none':
        return
    path = work.path(image)
    length = {'front': rng.choice([0, 5, 16]), 'back': rng.choice([1, 8, 33]),
              'long': rng.choice([400, 520, 777, 1500])}[level]
    place = level if level != 'long' else rng.choice(['front', 'back'])
    payload = bytes(rng.randrange(1, 256) for _ in range(length))
    work.note('# by hand: header extension 0x51636266, %d bytes, at the %s' % (length, place))
    # room for: the bitmaps extension, and a second copy of the backing name while it is moved
    require(inject_extension(path, 0x51636266, payload, place, reserve=32 + 32), 'no room for the foreign extension')


def verify_synth(work, image, allocated, size, cluster, rng, opts=None, others=(), granularity=None, disabled=False,
                 extra=(), name=NAME, rw_cycle=True, map_agrees=True):
    """Synthesise, and hold the result against everything that must be."""
    path = work.path(image)
    g = granularity or default_granularity(cluster)
    allocated = ranges_clip(allocated, size)
    expected = ranges_outward(allocated, g, size)

    # the oracle, against one of qemu's two views of it
    as_json = rng.random() < 0.5
    if map_agrees:
        seen = work.map_allocated(image, opts) if as_json else served_depth(work, image, opts)
        require_equal(seen, allocated, 'the test is wrong: what qemu calls allocated differs from the write log')
    others_before = served_dirty(work, image, others, opts)

    before = Qcow2(path)
    kept = before.kept_state()
    order_before = [b.name for b in before.bitmaps()]
    content_before = {b.name: before.bitmap_content(b) for b in before.bitmaps()}
    info_before = work.info_bitmaps(image, opts)
    data_file = before.extension(0x44415441)
    if data_file is not None:
        data_file = data_file.decode()
        data_digest = digest(work.path(data_file))
    copy = 'copy.qcow2'
    work.note('cp %s %s' % (image, copy))
    copy_sparse(path, work.path(copy))

    argv = ['synth', *extra] + (['-g', str(g)] if granularity else []) + (['--disabled'] if disabled else [])
    was, old_length = digest(path), before.file_size
    dry = json.loads(work.qcbm(*argv, '--dry-run', '--output=json', image, name).out)
    require(digest(path) == was, 'synth --dry-run changed the image')
    require(dry['dry-run'] and dry['steps'], 'JSON of the dry run: %r' % dry)
    figures = {'image': image, 'overlay': image, 'bitmap': name, 'granularity': g, 'virtual-size': size,
               'granules': -(-size // g), 'dirty-granules': sum(-(-end // g) - start // g for start, end in expected),
               'dirty-bytes': ranges_total(expected), 'enabled': not disabled, 'damaged-entries': 0}
    if as_json:
        data = json.loads(work.qcbm(*argv, '--output=json', image, name).out)
        require_equal({key: data.get(key) for key in figures}, figures, 'JSON of synth')
        require_equal(data['plan'], dry['plan'], 'the plan of the dry run and of the real one')
        layer = data['layers'][0]
        require_equal((len(data['layers']), layer['filename'], layer['format'], layer['virtual-size'],
                       layer['cluster-size']), (1, image, 'qcow2', size, cluster), 'JSON of synth: layers')
        if map_agrees and '--force' not in extra:
            require_equal(layer['allocated-bytes'], ranges_total(allocated), 'JSON of synth: allocated bytes')
        require(data['dry-run'] is False, 'JSON of synth: dry-run')
    else:
        out = work.qcbm(*argv, image, name).out
        require(out.count('\n') >= 1 and 'backing' in out.split('\n')[0], 'synth does not state its claim: ' + out)
    require_equal({key: dry.get(key) for key in figures}, figures, 'JSON of the dry run')
    require_equal(dry['plan']['file-growth'], Qcow2(path).file_size - old_length, 'the plan and the growth of the file')

    # what qemu makes of it
    work.check(image, opts)
    with work.serve(image, [name], opts=opts) as server:
        told = server.rows(name) if as_json else server.text(name)
    if as_json:
        require_equal(extents_to_ranges(told, 'nbdinfo'), (expected, size), 'dirty extents by nbdinfo, and their end')
    others_after = served_dirty(work, image, [name, *others], opts)
    require_equal(others_after.pop(name), expected, 'dirty extents as a server of QEMU tells them')
    require_equal(others_after, others_before, 'bits of the other bitmaps')
    info_after = work.info_bitmaps(image, opts)
    require_equal(info_after.pop(name, None), (g, [] if disabled else ['auto']), 'qemu-img info of the new bitmap')
    require_equal(info_after, info_before, 'qemu-img info of the other bitmaps')

    # what the tool itself says
    if as_json:
        require_equal(json.loads(work.qcbm('extents', '--output=json', image, name).out), told, 'qcbm extents, JSON')
    else:
        require_equal(work.qcbm('extents', image, name).raw_out, told, 'qcbm extents, text')

    # what lies on the disk
    after = Qcow2(path)
    require_kept(kept, after.kept_state(), 'synth')
    content_after = {b.name: after.bitmap_content(b) for b in after.bitmaps()}
    mine = after.bitmap(name)
    require_equal(after.bitmap_dirty(mine), expected, 'bits on the disk')
    after.bitmap_is_thrifty(mine)
    del content_after[mine.name]
    require_equal(content_after, content_before, 'the other bitmaps, byte by byte')
    require_equal([b.name for b in after.bitmaps()], order_before + [name.encode()], 'order')
    require_equal(after.autoclear & 1, 1, 'autoclear bit of the bitmaps')
    if data_file is not None:
        require(digest(work.path(data_file)) == data_digest, 'synth wrote to the data file')
    compare_with_copy(work, image, copy, opts)

    if rw_cycle:
        open_and_write(work, image, name, size, rng, opts, expected, g, disabled, others_before, info_before)


def compare_with_copy(work, image, copy, opts):
    """Guest content as before. (Not with -s: whether qemu reports zeros in data depends on the file's free space.)"""
    if opts:
        work.run('qemu-img', 'compare', *SECRET, '--image-opts', opts, luks_opts(copy))
    else:
        work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', image, copy)


def open_and_write(work, image, name, size, rng, opts, expected, g, disabled, others_before, info_before):
    """qemu opens r/w, writes, closes: the image stays sound, and the bitmap records if it is enabled."""
    start = rng.randrange(size // 512) * 512
    length = min(rng.choice([512, 4096, 65536]), size - start)
    work.io(image, 'write -P 252 %d %d' % (start, length), opts=opts)
    work.check(image, opts)
    new = [(start, start + length)]
    now = served_dirty(work, image, [name, *others_before], opts)
    require_equal(now.pop(name), expected if disabled else ranges_or(expected, ranges_outward(new, g, size)),
                  'the bitmap after qemu wrote at %d' % start)
    for other, was in others_before.items():
        other_g, flags = info_before[other]
        require_equal(now[other], ranges_or(was, ranges_outward(new, other_g, size)) if 'auto' in flags else was,
                      'bitmap %s after qemu wrote' % other)


# ---- cases by name ----------------------------------------------------------------------------------------------

def create(work, size, options='', backing=None, image='overlay.qcow2'):
    return work.create(image, size, options, backing)


def base(work, size, commands=('write -P 251 0 256k',)):
    create(work, size, image='base.qcow2')
    if commands:
        work.io('base.qcow2', *commands)
    return 'base.qcow2'


def case_nothing_allocated(work):
    create(work, 10 * MiB, backing=base(work, 10 * MiB))
    verify_synth(work, 'overlay.qcow2', [], 10 * MiB, 64 * KiB, random.Random(1))


def case_everything_allocated(work, cluster, granularity):
    size = 6 * MiB + 512
    create(work, size, 'cluster_size=%d' % cluster, base(work, size))
    work.io('overlay.qcow2', 'write -P 7 0 %d' % size)
    verify_synth(work, 'overlay.qcow2', [(0, size)], size, cluster, random.Random(2), granularity=granularity)


def case_everything_zeroed(work):
    create(work, 300 * GiB + 512, backing=base(work, 300 * GiB + 512))
    work.io('overlay.qcow2', *['write -z %dG %s' % (at, 1 << 30) for at in range(0, 300, 1)], 'write -z 300G 512')
    verify_synth(work, 'overlay.qcow2', [(0, 300 * GiB + 512)], 300 * GiB + 512, 64 * KiB, random.Random(3),
                 granularity=4 * KiB)


def case_preallocated_subclusters(work):
    """Host offsets without subcluster bits: nothing is allocated."""
    base(work, 4 * MiB)
    create(work, 4 * MiB, 'extended_l2=on,preallocation=metadata', 'base.qcow2')
    work.io('overlay.qcow2', 'write 1M 3000')
    verify_synth(work, 'overlay.qcow2', [(MiB, MiB + 4096)], 4 * MiB, 64 * KiB, random.Random(4), granularity=512)


def case_preallocated(work, mode):
    create(work, 4 * MiB, 'preallocation=' + mode)
    verify_synth(work, 'overlay.qcow2', [(0, 4 * MiB)], 4 * MiB, 64 * KiB, random.Random(5), granularity=512)


def case_raw_data_file(work):
    create(work, 4 * MiB + 512, 'data_file=d.raw,data_file_raw=on')
    work.io('overlay.qcow2', 'write -P 3 1M 64k')
    work.qcbm_refused('synth', 'overlay.qcow2', NAME, says=[r'raw'], file='overlay.qcow2',
                      unchanged=['overlay.qcow2', 'd.raw'])
    work.qcbm_refused('synth', '--dry-run', 'overlay.qcow2', NAME, says=[r'raw'], file='overlay.qcow2')
    # qemu has every entry allocated as well, and says so
    verify_synth(work, 'overlay.qcow2', [(0, 4 * MiB + 512)], 4 * MiB + 512, 64 * KiB, random.Random(6),
                 extra=['--force'], granularity=4 * KiB)


def case_data_file_cluster_zero(work):
    """Guest cluster 0 of a data file image lies at host offset 0: only COPIED tells it from an unallocated one."""
    create(work, MiB, 'data_file=d.raw')
    work.io('overlay.qcow2', 'write -P 3 0 512')
    entry = Qcow2(work.path('overlay.qcow2'))
    require_equal(entry.words(entry.l2_place(0), 1)[0], 1 << 63, 'L2 entry of cluster 0')
    verify_synth(work, 'overlay.qcow2', [(0, 64 * KiB)], MiB, 64 * KiB, random.Random(7))


def case_data_file_absent(work):
    """Metadata work never needs the data file: with the file away, synth does the same."""
    create(work, MiB, 'data_file=d.raw')
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    shutil.move(work.path('d.raw'), work.path('elsewhere'))
    work.qcbm('synth', 'overlay.qcow2', NAME)
    shutil.move(work.path('elsewhere'), work.path('d.raw'))
    work.check('overlay.qcow2')
    require_equal(served_dirty(work, 'overlay.qcow2', [NAME])[NAME], [(256 * KiB, 320 * KiB)], 'dirty')


def case_backing_absent(work):
    """Without --since only the overlay is opened."""
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    shutil.move(work.path('base.qcow2'), work.path('elsewhere'))
    work.qcbm('synth', 'overlay.qcow2', NAME)
    shutil.move(work.path('elsewhere'), work.path('base.qcow2'))
    work.check('overlay.qcow2')
    require_equal(served_dirty(work, 'overlay.qcow2', [NAME])[NAME], [(256 * KiB, 320 * KiB)], 'dirty')


def case_unknown_bits(work):
    """Unknown compatible bits stay; unknown autoclear bits are cleared by the first write, as the format demands."""
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    path = work.path('overlay.qcow2')
    set_feature_bits(path, 'compatible', 1 << 40)
    set_feature_bits(path, 'autoclear', 1 << 33)
    was = digest(path)
    work.qcbm('synth', '--dry-run', 'overlay.qcow2', NAME)
    require(digest(path) == was, 'a dry run changed the image')
    work.qcbm('synth', 'overlay.qcow2', NAME)
    after = Qcow2(path)
    require_equal((after.compatible, after.autoclear), (1 << 40, 1), 'feature words')
    work.check('overlay.qcow2')
    require_equal(served_dirty(work, 'overlay.qcow2', [NAME])[NAME], [(256 * KiB, 320 * KiB)], 'dirty')


def case_lazy_refcounts(work):
    create(work, MiB, 'lazy_refcounts=on', base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    verify_synth(work, 'overlay.qcow2', [(256 * KiB, 320 * KiB)], MiB, 64 * KiB, random.Random(8))


def case_short_header(work, backing):
    """header_length 104, as older tools write it."""
    create(work, MiB, backing=base(work, MiB) if backing else None)
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    path = work.path('overlay.qcow2')
    header = bytearray(Qcow2(path).header[:104])
    header[100:104] = (104).to_bytes(4, 'big')
    work.note('# by hand: header_length 104')
    rewrite_first_cluster(path, header=bytes(header))
    work.check('overlay.qcow2')
    verify_synth(work, 'overlay.qcow2', [(256 * KiB, 320 * KiB)], MiB, 64 * KiB, random.Random(9))


def case_no_feature_table(work):
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 512')
    path = work.path('overlay.qcow2')
    work.note('# by hand: no feature name table')
    rewrite_first_cluster(path, [e for e in Qcow2(path).extensions if e[0] != EXT_FEATURES])
    verify_synth(work, 'overlay.qcow2', [(256 * KiB, 320 * KiB)], MiB, 64 * KiB, random.Random(10))


def case_grown_over_longer_backing(work):
    """qemu-img resize writes zero entries over what the longer backing file would show."""
    base(work, MiB, ['write -P 251 0 1M'])
    create(work, 512 * KiB, backing='base.qcow2')
    work.io('overlay.qcow2', 'write -P 3 0 512')
    work.run('qemu-img', 'resize', '-q', '-f', 'qcow2', 'overlay.qcow2', MiB)
    verify_synth(work, 'overlay.qcow2', [(0, 64 * KiB), (512 * KiB, MiB)], MiB, 64 * KiB, random.Random(11))


def case_shrunk_then_grown(work):
    base(work, MiB, ['write -P 251 0 1M'])
    create(work, MiB, 'cluster_size=4k', backing='base.qcow2')
    work.io('overlay.qcow2', 'write -P 3 600k 8k')
    work.run('qemu-img', 'resize', '-q', '--shrink', '-f', 'qcow2', 'overlay.qcow2', 500 * KiB)
    work.run('qemu-img', 'resize', '-q', '-f', 'qcow2', 'overlay.qcow2', MiB)
    verify_synth(work, 'overlay.qcow2', [(500 * KiB, MiB)], MiB, 4 * KiB, random.Random(12))


def case_shrunk_keeps_large_l1(work):
    """After a shrink the L1 table is longer than the disk needs."""
    base(work, 64 * MiB)
    create(work, 64 * MiB, 'cluster_size=4k', backing='base.qcow2')
    work.io('overlay.qcow2', 'write -P 3 1M 8k', 'write -P 3 63M 64k')
    work.run('qemu-img', 'resize', '-q', '--shrink', '-f', 'qcow2', 'overlay.qcow2', 3 * MiB + 512)
    verify_synth(work, 'overlay.qcow2', [(MiB, MiB + 8 * KiB)], 3 * MiB + 512, 4 * KiB, random.Random(13))


def case_entries_past_the_end(work):
    """L2 entries past the virtual size, inside the last table and behind it: never dirty."""
    base(work, 8 * MiB)
    create(work, 8 * MiB, 'cluster_size=4k', backing='base.qcow2')
    work.io('overlay.qcow2', 'write -P 3 0 4k', 'write -P 3 1M 8k', 'write -P 3 5M 64k')
    work.note('# by hand: header.size 8 MiB -> 1 MiB + 512; the entries past it stay')
    patch(work.path('overlay.qcow2'), 24, (MiB + 512).to_bytes(8, 'big'))
    verify_synth(work, 'overlay.qcow2', [(0, 4 * KiB), (MiB, MiB + 512)], MiB + 512, 4 * KiB, random.Random(14),
                 rw_cycle=False)


def case_snapshot_of_other_size(work):
    create(work, MiB, 'cluster_size=4k', base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 4k')
    work.run('qemu-img', 'snapshot', '-c', 's', 'overlay.qcow2')
    work.run('qemu-img', 'resize', '-q', '-f', 'qcow2', 'overlay.qcow2', 2 * MiB)
    work.io('overlay.qcow2', 'write -P 4 1536k 4k')
    work.run('qemu-img', 'snapshot', '-c', 's2', 'overlay.qcow2')
    verify_synth(work, 'overlay.qcow2', [(256 * KiB, 260 * KiB), (1536 * KiB, 1540 * KiB)], 2 * MiB, 4 * KiB,
                 random.Random(15))


def case_after_commit(work):
    """commit empties the overlay: its allocation is gone."""
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 4k')
    work.run('qemu-img', 'commit', '-q', '-f', 'qcow2', 'overlay.qcow2')
    verify_synth(work, 'overlay.qcow2', [], MiB, 64 * KiB, random.Random(16))


def case_safe_rebase(work):
    """A safe rebase copies what the old and the new backing have differently into the overlay."""
    base(work, MiB, ['write -P 251 0 256k'])
    create(work, MiB, image='other.qcow2')
    work.io('other.qcow2', 'write -P 251 0 128k')
    create(work, MiB, backing='base.qcow2')
    work.io('overlay.qcow2', 'write -P 3 512k 64k')
    work.run('qemu-img', 'rebase', '-q', '-f', 'qcow2', '-b', 'other.qcow2', '-F', 'qcow2', 'overlay.qcow2')
    verify_synth(work, 'overlay.qcow2', [(128 * KiB, 256 * KiB), (512 * KiB, 576 * KiB)], MiB, 64 * KiB, random.Random(17))


def case_many_bitmaps(work, cluster):
    """A directory of several clusters."""
    create(work, MiB, 'cluster_size=%d' % cluster, base(work, MiB))
    names = ['b%02d' % k + 'x' * 40 for k in range(40)]
    for name in names:
        work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'overlay.qcow2', name)
    work.io('overlay.qcow2', 'write -P 3 256k 4k')
    verify_synth(work, 'overlay.qcow2', ranges_outward([(256 * KiB, 260 * KiB)], cluster, MiB), MiB, cluster,
                 random.Random(18), others=names)


def case_name(work, name):
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 4k')
    verify_synth(work, 'overlay.qcow2', [(256 * KiB, 320 * KiB)], MiB, 64 * KiB, random.Random(19), name=name)


def case_name_too_long(work):
    create(work, MiB, backing=base(work, MiB))
    work.qcbm_refused('synth', 'overlay.qcow2', 'n' * 1024, file='overlay.qcow2', unchanged=['overlay.qcow2'])
    work.qcbm_refused('synth', 'overlay.qcow2', '', file='overlay.qcow2', unchanged=['overlay.qcow2'])


def case_granularity_refused(work):
    create(work, MiB, backing=base(work, MiB))
    for g in ('0x300', '256', '3000', '4G', '8589938688', '-1', 'abc', '1T'):
        # usage errors need not name the file
        result = work.qcbm('synth', '-g', g, 'overlay.qcow2', NAME, rc=1)
        require(result.out == '' and result.err != '', '-g %s: %s' % (g, result.err))
    create(work, 3 * TiB, image='large.qcow2')
    work.qcbm_refused('synth', '-g', '512', 'large.qcow2', NAME, file='large.qcow2', unchanged=['large.qcow2'])


def case_refcount_growth(work, bits):
    """The new bitmap needs more refcount blocks than the refcount table of 512-byte clusters has room for."""
    reach = 64 * (4096 // bits) * 512  # bytes of file that a table of one cluster covers
    size = 4 * GiB
    create(work, size, 'cluster_size=512,refcount_bits=%d' % bits, base(work, size, []))
    path = work.path('overlay.qcow2')
    # The L1 table of 64 KiB * 2 has its place already; fill with data until the file ends close below the border.
    at, step = 0, 256 * KiB
    while Qcow2(path).file_size < reach - 2 * step:
        count = (reach - 2 * step - Qcow2(path).file_size) // (step + step // 16) or 1
        work.io('overlay.qcow2', *['write -P 5 %d %d' % (at + k * step, step) for k in range(count)])
        at += count * step
    while Qcow2(path).file_size < reach - 14 * KiB:
        work.io('overlay.qcow2', 'write -P 6 %d 4k' % at)
        at += 4096
    tables = Qcow2(path)
    require(tables.reftable_clusters == 1 and tables.file_size < reach,
            'the test is wrong: table of %d clusters, file of %d' % (tables.reftable_clusters, tables.file_size))
    verify_synth(work, 'overlay.qcow2', [(0, at)], size, 512, random.Random(20), granularity=4096)
    # granularity 4096: 1 Mi bits, 256 table entries = 2 KiB of table and some data; one of 512 needs 16 KiB of table
    other = Qcow2(path)
    verify_synth(work, 'overlay.qcow2', work.map_allocated('overlay.qcow2'), size, 512, random.Random(21),
                 others=[NAME], granularity=512, name='second')
    require(Qcow2(path).reftable_clusters > 1, 'the test is wrong: the refcount table was large enough (file of %d)'
            % other.file_size)


def case_holes_are_found(work):
    """Clusters that are free in the middle of the file may be used, but never one that something points to."""
    create(work, 4 * MiB, 'cluster_size=4k', base(work, 4 * MiB))
    work.io('overlay.qcow2', 'write -P 3 0 1M', 'write -P 4 2M 1M')
    work.run('qemu-img', 'snapshot', '-c', 's', 'overlay.qcow2')
    work.io('overlay.qcow2', 'write -P 5 0 64k', 'write -P 6 2M 512k')
    work.run('qemu-img', 'snapshot', '-d', 's', 'overlay.qcow2')
    verify_synth(work, 'overlay.qcow2', [(0, MiB), (2 * MiB, 3 * MiB)], 4 * MiB, 4 * KiB, random.Random(22),
                 granularity=512)


def case_leaked_clusters_stay_sound(work):
    """Space that leaked before (refcount 1, no reference) is not taken for the bitmap, and is not made worse."""
    create(work, MiB, backing=base(work, MiB))
    work.io('overlay.qcow2', 'write -P 3 256k 4k')
    path = work.path('overlay.qcow2')
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'overlay.qcow2', 'x')
    work.note('# by hand: autoclear bit 0 cleared')
    clear_feature_bits(path, 'autoclear', 1)
    work.io('overlay.qcow2', 'read 0 512')  # a r/w open drops the extension, the clusters leak
    leaks = json.loads(work.run('qemu-img', 'check', '--output=json', '-f', 'qcow2', 'overlay.qcow2', rc=3).out)['leaks']
    work.qcbm('synth', 'overlay.qcow2', NAME)
    now = json.loads(work.run('qemu-img', 'check', '--output=json', '-f', 'qcow2', 'overlay.qcow2', rc=None).out)
    require(now.get('leaks', 0) <= leaks and not now.get('corruptions'), 'check after synth: %r' % now)
    work.run('qemu-img', 'check', '-q', '-r', 'leaks', '-f', 'qcow2', 'overlay.qcow2')
    require_equal(served_dirty(work, 'overlay.qcow2', [NAME])[NAME], [(256 * KiB, 320 * KiB)], 'dirty')


def case_not_qcow2(work):
    with open(work.path('raw.img'), 'wb') as f:
        f.write(b'x' * 70000)
    work.qcbm_refused('synth', 'raw.img', NAME, file='raw.img', unchanged=['raw.img'])
    work.qcbm_refused('synth', 'missing.qcow2', NAME, file='missing.qcow2')


NAMED = [
    (case_nothing_allocated, 'nothing-allocated', {}),
    (case_everything_allocated, 'everything-allocated-512', {'cluster': 512, 'granularity': 512}),
    (case_everything_allocated, 'everything-allocated-4k', {'cluster': 4 * KiB, 'granularity': 512}),
    (case_everything_allocated, 'everything-allocated-64k', {'cluster': 64 * KiB, 'granularity': None}),
    (case_everything_zeroed, 'everything-zeroed', {}),
    (case_preallocated_subclusters, 'preallocated-subclusters', {}),
    (case_preallocated, 'preallocated-metadata', {'mode': 'metadata'}),
    (case_preallocated, 'preallocated-full', {'mode': 'full'}),
    (case_raw_data_file, 'raw-data-file', {}),
    (case_data_file_cluster_zero, 'data-file-cluster-zero', {}),
    (case_data_file_absent, 'data-file-absent', {}),
    (case_backing_absent, 'backing-absent', {}),
    (case_unknown_bits, 'unknown-feature-bits', {}),
    (case_lazy_refcounts, 'lazy-refcounts', {}),
    (case_short_header, 'header-104', {'backing': False}),
    (case_short_header, 'header-104-backing', {'backing': True}),
    (case_no_feature_table, 'no-feature-table', {}),
    (case_grown_over_longer_backing, 'grown-over-longer-backing', {}),
    (case_shrunk_then_grown, 'shrunk-then-grown', {}),
    (case_shrunk_keeps_large_l1, 'shrunk-large-l1', {}),
    (case_entries_past_the_end, 'entries-past-the-end', {}),
    (case_snapshot_of_other_size, 'snapshot-of-other-size', {}),
    (case_after_commit, 'after-commit', {}),
    (case_safe_rebase, 'safe-rebase', {}),
    (case_many_bitmaps, 'many-bitmaps-512', {'cluster': 512}),
    (case_many_bitmaps, 'many-bitmaps-64k', {'cluster': 64 * KiB}),
    (case_name, 'name-utf8', {'name': 'größe ☃ : / = ,'}),
    (case_name, 'name-1023', {'name': 'n' * 1023}),
    (case_name, 'name-1', {'name': '0'}),
    (case_name_too_long, 'name-refused', {}),
    (case_granularity_refused, 'granularity-refused', {}),
    (case_refcount_growth, 'refcount-table-growth-64', {'bits': 64}),
    (case_refcount_growth, 'refcount-table-growth-32', {'bits': 32}),
    (case_refcount_growth, 'refcount-table-growth-16', {'bits': 16}),
    (case_holes_are_found, 'holes-in-the-file', {}),
    (case_leaked_clusters_stay_sound, 'leaked-clusters', {}),
    (case_not_qcow2, 'not-qcow2', {}),
]
NAMED_FULL = [
    (case_refcount_growth, 'refcount-table-growth-8', {'bits': 8}),
    (case_refcount_growth, 'refcount-table-growth-4', {'bits': 4}),
    (case_preallocated, 'preallocated-falloc', {'mode': 'falloc'}),
]


def main():
    args = arguments('qcbm synth over a grid of image shapes, against the real qemu tools')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    total, luks = (4000, 150) if args.full else (120, 8)
    cases = list(NAMED) + (NAMED_FULL if args.full else [])
    for number, levels in enumerate(choose_combinations(args.seed, total, luks)):
        name = 'g%04d:%s' % (number, ','.join(str(level) for level in levels.values()))
        cases.append((grid_case, name, {'levels': levels, 'seed': args.seed * 100003 + number}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
