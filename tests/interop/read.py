#!/usr/bin/env python3
# read.py - the bytes of qcbm_read() against qemu-img convert: kinds of clusters, chains, data files, damaged streams
#
# SPDX-License-Identifier: MIT
#
# READ_DISK reads a whole disk in pieces of a given size. Where qemu-img fails, it must fail, and the other way round.

import os
import random
import shutil

from qtool import KiB, MiB, Qcow2, arguments, need_tools, patch, peek, require, require_equal, run_cases

READ_DISK = os.environ['READ_DISK']
SHAPES = {'512': (512, ''), '4k': (4 * KiB, ''), '64k': (64 * KiB, ''), '2M': (2 * MiB, ''),
          '16k-ext': (16 * KiB, ',extended_l2=on'), '64k-ext': (64 * KiB, ',extended_l2=on'),
          'v2': (64 * KiB, ',compat=0.10')}
COMPRESSED, OFFSET = 1 << 62, 0x00fffffffffffe00


def content(rng, size):
    """What compresses well, badly and not at all, with zeros between."""
    out = bytearray()
    while len(out) < size:
        n = rng.choice([100, 512, 3000, 5000, 40000, 70000])
        out += rng.choice([lambda: bytes(n), lambda: rng.randbytes(n), lambda: b'qcow2 ' * (n // 6),
                           lambda: bytes(rng.choices(b'abcd\0', k=n))])()
    return bytes(out[:size])


def write_file(work, name, data):
    with open(work.path(name), 'wb') as f:
        f.write(data)
    return name


def bytes_file(work, data):
    """For a program that is not in the directory of the case."""
    return work.path(write_file(work, 'bytes', data))


def pack_some(work, image, rng, size, cluster):
    """Compressed writes, of whole clusters: qemu takes them only where nothing is allocated yet."""
    for start in rng.sample(range(0, size, cluster), min(6, -(-size // cluster))):
        length = min(cluster, size - start)
        work.io(image, 'write -q -c -s %s %d %d' % (bytes_file(work, content(rng, length)), start, length))


def scribble(work, image, rng, size, unit):
    """Writes, zeros and discards; data at sectors."""
    for _ in range(10):
        kind = rng.choice(['data'] * 5 + ['write -z', 'write -z -u', 'discard'])
        if kind == 'data':
            start = rng.randrange(size // 512) * 512
            length = min(rng.choice([512, 1536, 20000 // 512 * 512, 66048]), size - start)
            work.io(image, 'write -q -s %s %d %d' % (bytes_file(work, content(rng, length)), start, length))
            continue
        start = rng.randrange(size // unit + 1) * unit
        length = min(unit * rng.randrange(1, 3), size - start)
        if length > 0:
            work.io(image, '%s -q %d %d' % (kind, start, length))


def convert(work, image, rc=0):
    done = work.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, 'expected.raw', rc=rc)
    if done.code:
        return None
    with open(work.path('expected.raw'), 'rb') as f:
        return f.read()


def read_disk(work, image, flags, chunk, rc=0):
    done = work.run(READ_DISK, flags, chunk, image, rc=rc)
    return done.raw_out if done.code == 0 else None


def first_difference(got, expected):
    if len(got) != len(expected):
        return 'length %d, expected %d' % (len(got), len(expected))
    return 'byte 0x%x' % next(i for i in range(len(got)) if got[i] != expected[i])


def compare(work, image, flags=''):
    expected = convert(work, image)
    require(any(expected), 'the disk is all zeros')
    for how, chunk in (('', len(expected)), ('', 65536 - 512), ('b', 100001), ('', 777 if len(expected) < MiB else 77777)):
        got = read_disk(work, image, flags + how + '-', chunk or 1)
        if got != expected:
            require(False, 'pieces of %d%s: %s' % (chunk, ' backward' * (how == 'b'), first_difference(got, expected)))


def compare_layer(work, image, flags=''):
    """As if there was no backing file."""
    shutil.copy(work.path(image), work.path('alone'))
    work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', '', 'alone')
    expected = convert(work, 'alone')
    got = read_disk(work, image, flags + 'l', MiB)
    require(got == expected, 'this layer alone: ' + (first_difference(got, expected) if got != expected else ''))


def make(work, name, rng, shape, size, packing, below=None):
    """An image whose first content comes from convert, packed or not, and then changes."""
    cluster, options = SHAPES[shape]
    options = 'cluster_size=%d%s%s' % (cluster, options, ',compression_type=zstd' * (packing == 'zstd'))
    if below:
        work.create(name, size, options, below[0], below[1])
        if packing:
            pack_some(work, name, rng, size, cluster)
    else:
        write_file(work, 'source', content(rng, size))
        work.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', *(['-c'] if packing else []), '-o', options,
                 'source', name)
    scribble(work, name, rng, size, cluster // 32 if 'extended' in options and not packing else cluster)
    return name, 'qcow2'


def case_image(work, seed, shape, size, packing):
    make(work, 'image', random.Random(seed), shape, size, packing)
    compare(work, 'image')


def case_chain(work, seed, sizes, raw_base):
    rng = random.Random(seed)
    below = None
    for number, size in enumerate(sizes):
        name = 'layer%d' % number
        if number == 0 and raw_base:
            below = (write_file(work, name, content(rng, size - raw_base)), 'raw')
            continue
        shape = rng.choice([s for s in SHAPES if s != '2M'])
        packing = rng.choice([None, 'zlib'] + ['zstd'] * (shape != 'v2'))
        below = make(work, name, rng, shape, size, packing, below)
    compare(work, below[0])
    compare_layer(work, below[0])


def case_data_file(work, seed, shape, raw, layers):
    rng = random.Random(seed)
    cluster, options = SHAPES[shape]
    size = max(3 * MiB + 512, 4 * cluster)
    below = make(work, 'base', rng, '64k', size, 'zlib') if layers else None
    work.create('image', size, 'cluster_size=%d%s,data_file=%s,data_file_raw=%s' % (
        cluster, options, 'data.raw', 'on' if raw else 'off'), *(below or (None,)))
    scribble(work, 'image', rng, size, cluster)
    compare(work, 'image', 'd')
    for flags in ('', 'U'):
        refused = work.run(READ_DISK, flags + '-', MiB, 'image', rc=1)
        require('QCBM_E_UNSUPPORTED' in refused.err and 'on request only' in refused.err, refused.err)
    # a data file below, asked for and not
    work.create('over', size, '', 'image')
    work.io('over', 'write -q -P 7 0 64k')
    compare(work, 'over', 'd')
    refused = work.run(READ_DISK, '-', MiB, 'over', rc=1)
    require("layer 'image'" in refused.err and 'on request only' in refused.err, refused.err)
    os.unlink(work.path('data.raw'))
    gone = work.run(READ_DISK, 'd', MiB, 'image', rc=1)
    require("data file 'data.raw'" in gone.err and 'No such file' in gone.err, gone.err)
    os.mkfifo(work.path('data.raw'))
    odd = work.run(READ_DISK, 'd', MiB, 'image', rc=1)
    require('QCBM_E_CHAIN' in odd.err and 'data.raw' in odd.err, odd.err)


def case_luks(work):
    work.create('image', MiB, luks=True)
    opts = 'driver=qcow2,encrypt.key-secret=s0,file.filename=image'
    require_equal(read_disk(work, 'image', '-', MiB), bytes(MiB), 'nothing is written')
    work.io(None, 'write -q -P 5 128k 64k', opts=opts)
    refused = work.run(READ_DISK, '-', MiB, 'image', rc=1)
    require('QCBM_E_UNSUPPORTED' in refused.err and 'encrypted (LUKS)' in refused.err, refused.err)


def packed_entries(work, image):
    """(place of the L2 entry, host offset, bytes at most) of each compressed cluster, by the specification."""
    q = Qcow2(work.path(image))
    l1_entries, = (int.from_bytes(peek(work.path(image), 36, 4), 'big'),)
    l1 = int.from_bytes(peek(work.path(image), 40, 8), 'big')
    bits = int.from_bytes(peek(work.path(image), 20, 4), 'big')
    shift = 62 - (bits - 8)
    for table in q.words(l1, l1_entries):
        if table & OFFSET:
            for i, entry in enumerate(q.words(table & OFFSET, (1 << bits) // 8)):
                if entry & COMPRESSED:
                    host = entry & ((1 << shift) - 1)
                    sectors = (entry & (COMPRESSED - 1)) >> shift
                    yield (table & OFFSET) + 8 * i, host, (sectors + 1) * 512 - host % 512


def case_damage(work, seed, packing):
    """Bytes of streams, lengths and places changed: both read the same, or both fail."""
    rng = random.Random(seed)
    make(work, 'good', rng, '64k', 2 * MiB, packing)
    failures = 0
    for _ in range(40):
        shutil.copy(work.path('good'), work.path('bad'))
        path = work.path('bad')
        at, host, length = rng.choice(list(packed_entries(work, 'bad')))
        entry = int.from_bytes(peek(path, at, 8), 'big')
        what = rng.choice(['byte', 'byte', 'bytes', 'shorter', 'elsewhere', 'cut'])
        if what == 'byte':
            patch(path, host + rng.randrange(length), bytes([rng.randrange(256)]))
        elif what == 'bytes':
            patch(path, host, rng.randbytes(rng.randrange(1, 64)))
        elif what == 'shorter':
            patch(path, at, (entry & ~(COMPRESSED - (1 << (62 - 8)))).to_bytes(8, 'big'))
        elif what == 'elsewhere':
            patch(path, at, (entry + rng.choice([-512, -1, 1, 512])).to_bytes(8, 'big'))
        else:
            os.truncate(path, host + rng.randrange(length))
        work.note('# %s at 0x%x, stream at 0x%x' % (what, at, host))
        expected = convert(work, 'bad', rc=None)
        got = read_disk(work, 'bad', '-', 2 * MiB, rc=None)
        if what == 'cut' and got is None and expected is not None:
            continue  # qemu reads zeros behind the end of the file; we say that bytes are missing
        require((got is None) == (expected is None), 'only one of the two fails (%s)' % what)
        require(got == expected, 'they read different bytes (%s)' % what)
        failures += got is None
    require(failures > 3, 'nothing failed')


def case_past_the_end(work):
    """A cluster that the file has lost is an error; the last one may be cut short."""
    work.create('image', MiB, 'cluster_size=64k')
    work.io('image', 'write -q -P 1 0 64k', 'write -q -P 2 64k 1k')
    size = os.path.getsize(work.path('image'))
    expected = convert(work, 'image')
    require(expected[65536:66560] == b'\2' * 1024 and expected[66560:] == bytes(MiB - 66560), 'the writes')
    os.truncate(work.path('image'), size - 65536 + 1024)
    require_equal(convert(work, 'image'), expected, 'qemu-img, a last cluster that is cut short')
    require(read_disk(work, 'image', '-', MiB) == expected, 'a last cluster that is cut short')
    os.truncate(work.path('image'), size - 65536)
    lost = work.run(READ_DISK, '-', MiB, 'image', rc=1)
    require('QCBM_E_CORRUPT' in lost.err and 'passes the end of the file' in lost.err, lost.err)


def case_missing_backing(work):
    work.create('base', MiB)
    work.io('base', 'write -q -P 1 0 64k')
    work.create('top', MiB, '', 'base')
    work.io('top', 'write -q -P 2 64k 64k')
    os.unlink(work.path('base'))
    gone = work.run(READ_DISK, '-', MiB, 'top', rc=1)
    require('QCBM_E_CHAIN' in gone.err and "'base'" in gone.err, gone.err)
    require_equal(read_disk(work, 'top', 'l', MiB), bytes(65536) + b'\2' * 65536 + bytes(MiB - 131072), 'the layer')


def main():
    args = arguments('qcbm_read() against qemu-img convert')
    need_tools('qemu-img', 'qemu-io')
    cases = [(case_luks, 'luks', {}), (case_past_the_end, 'past-the-end', {}),
             (case_missing_backing, 'missing-backing', {})]
    for shape, (cluster, _) in SHAPES.items():
        for packing in (None, 'zlib', 'zstd'):
            if shape == 'v2' and packing == 'zstd':
                continue
            for label, size in (('whole', max(10 * cluster, 512 * KiB)), ('odd', max(8 * cluster, 256 * KiB) + 512)):
                cases.append((case_image, '%s-%s-%s' % (shape, packing or 'plain', label),
                              {'seed': args.seed + len(cases), 'shape': shape, 'size': size, 'packing': packing}))
    for number in range(40 if args.full else 12):
        rng = random.Random(args.seed + number)
        sizes = [rng.choice([MiB, MiB + 512, 700 * 512, 3 * MiB, 2 * MiB - 512]) for _ in range(rng.randrange(2, 5))]
        cases.append((case_chain, 'chain-%d' % number, {'seed': args.seed * 7 + number, 'sizes': sizes,
                                                        'raw_base': rng.choice([0, 0, 1, 100, 512])}))
    for shape in ('4k', '64k', '64k-ext'):
        for raw in (False, True):
            for layers in ((False, True) if not raw else (False,)):
                cases.append((case_data_file, 'data-file-%s%s%s' % (shape, '-raw' * raw, '-over' * layers),
                              {'seed': args.seed + len(cases), 'shape': shape, 'raw': raw, 'layers': layers}))
    for packing in ('zlib', 'zstd'):
        for number in range(4 if args.full else 1):
            cases.append((case_damage, 'damage-%s-%d' % (packing, number),
                          {'seed': args.seed + len(cases), 'packing': packing}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
