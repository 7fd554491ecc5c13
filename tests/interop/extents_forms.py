#!/usr/bin/env python3
# extents_forms.py - extents in the forms of other programs: each read by a reader of its own, and imported again
#
# SPDX-License-Identifier: MIT

import base64
import json
import random
import re
import shutil

import qtool
from qtool import (KiB, MiB, arguments, need_tools, ranges_norm, ranges_outward, require, require_equal, run_cases,
                   served_dirty)

CLUSTER = 64 * KiB
COVERING = ('human', 'json', 'jsonl', 'ovirt')
SPARSE = ('csi', 'csi-lines', 'rbd', 'xen-bits', 'xen-json')


# ---- readers, each written from what the consumer of its form takes: dirty ranges, and zeros where it has them ------

def covering(rows, size):
    """Rows of (offset, length, dirty, zero) from the start of the disk to its end."""
    at = 0
    for offset, length, _, _ in rows:
        require(offset == at and length > 0, 'a gap or an overlap at %d' % at)
        at += length
    require_equal(at, size, 'the end of the extents')
    return rows


def sparse(rows, size):
    at = 0
    for offset, length, _, _ in rows:
        require(offset >= at and length > 0, 'an overlap at %d' % offset)
        at = offset + length
    require(at <= size, 'an extent passes the end')
    return rows


def read_human(data, size):
    rows = [re.fullmatch(r' *(\d+) +(\d+) +(\d+)  (\S+)', line).groups() for line in data.decode().splitlines()]
    words = ['clean', 'dirty', 'clean,zero', 'dirty,zero']
    for _, _, kind, word in rows:
        require_equal(word, words[int(kind)], 'description')
    return covering([(int(o), int(n), int(k) & 1, int(k) & 2) for o, n, k, _ in rows], size)


def read_objects(rows, size):
    for row in rows:
        require_equal(sorted(row), ['description', 'length', 'offset', 'type'], 'members')
    return covering([(r['offset'], r['length'], r['type'] & 1, r['type'] & 2) for r in rows], size)


def read_json(data, size):
    return read_objects(json.loads(data), size)


def read_jsonl(data, size):
    require(data.endswith(b'\n'), 'the last line has no end')
    return read_objects([json.loads(line) for line in data.splitlines()], size)


def read_ovirt(data, size):
    rows = json.loads(data)
    for row in rows:
        require_equal(sorted(row), ['dirty', 'length', 'start', 'zero'], 'members')
        require(type(row['dirty']) is bool and type(row['zero']) is bool, 'no booleans')
    return covering([(r['start'], r['length'], r['dirty'], r['zero']) for r in rows], size)


def read_ovirt_zero(data, size):
    rows = json.loads(data)
    for row in rows:
        require_equal(sorted(row), ['hole', 'length', 'start', 'zero'], 'members')
    return covering([(r['start'], r['length'], not r['hole'], r['zero']) for r in rows], size)


def read_messages(messages, size):
    """As a client of the snapshot metadata service has to look at a stream."""
    require(messages, 'no message')
    rows = []
    for message in messages:
        require_equal(sorted(message), ['block_metadata', 'block_metadata_type', 'volume_capacity_bytes'], 'members')
        require_equal((message['block_metadata_type'], message['volume_capacity_bytes']), (2, size), 'type and capacity')
        require(len(message['block_metadata']) <= 1024, 'a large message')
        rows += [(t['byte_offset'], t['size_bytes'], True, False) for t in message['block_metadata']]
    return sparse(rows, size)


def read_csi(data, size):
    return read_messages(json.loads(data), size)


def read_csi_lines(data, size):
    return read_messages([json.loads(line) for line in data.splitlines()], size)


def read_rbd(data, size):
    rows = json.loads(data)
    for row in rows:
        require(sorted(row) == ['exists', 'length', 'offset'] and row['exists'] in ('true', 'false'), 'a bad row')
    return sparse([(r['offset'], r['length'], True, r['exists'] == 'false') for r in rows], size)


def read_xen_bits(data, size):
    clusters = -(-size // CLUSTER)
    require_equal(len(data), -(-clusters // 8), 'bytes')
    bits = int.from_bytes(data, 'little')
    require(bits >> clusters == 0, 'bits behind the end')
    return [(i * CLUSTER, min(CLUSTER, size - i * CLUSTER), True, False) for i in range(clusters) if bits >> i & 1]


def read_xen_json(data, size):
    value = json.loads(data)
    require_equal((value['virtual_size'], 1 << value['cluster_bits'], len(value)), (size, CLUSTER, 3), 'head')
    rows = [(a * CLUSTER, min(size, (b + 1) * CLUSTER) - a * CLUSTER, True, False) for a, b in value['data_clusters']]
    for before, after in zip(value['data_clusters'], value['data_clusters'][1:]):
        require(before[1] + 1 < after[0], 'intervals that are not joined')
    return sparse(rows, size)


READERS = {'human': read_human, 'json': read_json, 'jsonl': read_jsonl, 'ovirt': read_ovirt, 'csi': read_csi,
           'csi-lines': read_csi_lines, 'rbd': read_rbd, 'xen-bits': read_xen_bits, 'xen-json': read_xen_json}


def served(work, image, name):
    return served_dirty(work, image, [name])[name]


def ranges(rows, column=2):
    """Those that are dirty (2), or dirty and zero (3)."""
    return ranges_norm([(r[0], r[0] + r[1]) for r in rows if r[2] and (column == 2 or r[column])])


# ---- images ---------------------------------------------------------------------------------------------------

def scribble(work, image, rng, size, unit, count):
    commands = []
    for _ in range(count):
        start = rng.randrange(0, size // unit) * unit
        length = min(size - start, unit * rng.randrange(1, 9))
        commands.append(rng.choice(['write -P 7 %d %d', 'write -z %d %d', 'discard %d %d']) % (start, length))
    work.io(image, *commands)


def make_chain(work, seed, sizes):
    rng = random.Random(seed)
    for i, size in enumerate(sizes):
        work.create('layer%d' % i, size, rng.choice(['', 'extended_l2=on']), 'layer%d' % (i - 1) if i else None)
        scribble(work, 'layer%d' % i, rng, size, 2 * KiB, 15)
    return 'layer%d' % (len(sizes) - 1), rng


# ---- cases ----------------------------------------------------------------------------------------------------

def round_trip_case(work, seed, sizes, granularity):
    """Each form of a bitmap: what its reader finds is what qemu-nbd serves; and imported again, the bits are the same."""
    top, rng = make_chain(work, seed, sizes)
    size = sizes[-1]
    work.qcbm('synth', '-g', granularity, '--since', 'layer0', top, 'b')
    dirty = served(work, top, 'b')
    zero = ranges(read_json(work.qcbm('extents', '--with=zero', '--output=json', top, 'b').raw_out, size), 3)
    for form, read in READERS.items():
        rounded = ranges_outward(dirty, CLUSTER, size) if form.startswith('xen') else dirty
        data = work.qcbm('extents', '--output=' + form, top, 'b').raw_out
        require_equal(ranges(read(data, size)), rounded, form)
        if form in COVERING + ('rbd',):
            rows = read(work.qcbm('extents', '--with=zero', '--output=' + form, top, 'b').raw_out, size)
            require_equal((ranges(rows), ranges(rows, 3)), (dirty, zero), form + ' with zeros')
        work.qcbm('bitmap', '--export', 'out.' + form, '--format=' + form, top, 'b')
        with open(work.path('out.' + form), 'rb') as f:
            require_equal(f.read(), data, form + ' exported')
        work.qcbm('bitmap', '--import', 'out.' + form, '--format=' + form, '-g', granularity, top, form)
        require_equal(served(work, top, form), rounded, form + ' imported')
    work.check(top)


def layers_case(work, seed, sizes):
    """--layer is what qemu-img map says of the image itself; --since what synth finds; pages are all of it."""
    top, rng = make_chain(work, seed, sizes)
    size = sizes[-1]
    rows = read_json(work.qcbm('extents', '--layer', '--output=json', top).raw_out, size)
    require_equal(ranges(rows), work.map_allocated(top), '--layer')
    rows = read_ovirt_zero(work.qcbm('extents', '--layer', '--output=ovirt', top).raw_out, size)
    require_equal(ranges(rows), work.map_allocated(top), '--layer as oVirt has it')
    work.qcbm('synth', '-g', 512, '--since', 'layer0', top, 'b')
    want = work.qcbm('extents', '--with=zero', '--output=jsonl', top, 'b').raw_out
    require_equal(work.qcbm('extents', '--with=zero', '--output=jsonl', '--since', 'layer0', top).raw_out, want, '--since')
    for form in ('human', 'jsonl', 'csi-lines'):
        pages, at = [], 0
        while True:
            page = work.qcbm('extents', '--output=' + form, '--offset', at, '--limit', rng.randrange(1, 9), '--since',
                             'layer0', top).raw_out
            if form == 'csi-lines':
                rows = [(t['byte_offset'], t['size_bytes'], 1, 0) for t in json.loads(page)['block_metadata']]
            else:
                rows = [(int(a), int(b), int(c) & 1, 0) for a, b, c in re.findall(rb'(\d+)\D+(\d+)\D+(\d+)', page)]
            if not rows:
                break
            pages += rows
            at = sum(rows[-1][:2])
        require_equal(ranges(pages), served(work, top, 'b'), 'pages of ' + form)


def alone_case(work):
    """--layer opens nothing else: the backing file is not there."""
    work.create('base', MiB)
    work.create('top', MiB, backing='base')
    work.io('top', 'write 64k 64k', 'write -z 128k 64k')
    work.run('rm', 'base')
    rows = read_json(work.qcbm('extents', '--layer', '--with=zero', '--output=json', 'top').raw_out, MiB)
    require_equal([r for r in rows if r[2]], [(64 * KiB, 64 * KiB, 1, 0), (128 * KiB, 64 * KiB, 1, 2)], 'held')
    require_equal(ranges_norm([(r[0], r[0] + r[1]) for r in rows if r[3]]), [(128 * KiB, 192 * KiB)], 'known zeros')
    work.qcbm_refused('extents', '--since', 'base', 'top', says=['base'])


def snapshots_case(work, seed):
    """What differs between snapshots: all that does by content, no more than synth finds, and zeros as they were then."""
    rng = random.Random(seed)
    work.create('base', 2 * MiB)
    work.io('base', 'write -P 3 0 2M')
    work.create('disk', 2 * MiB, rng.choice(['', 'extended_l2=on', 'cluster_size=4k']), 'base')
    sizes = {}
    for state in ('one', 'two', 'three', None):
        scribble(work, 'disk', rng, 2 * MiB, 2 * KiB, 8)
        if state == 'three':
            work.run('qemu-img', 'resize', '-q', 'disk', 3 * MiB)
        sizes[state] = 2 * MiB if state in ('one', 'two') else 3 * MiB
        raw = ['qemu-img', 'convert', '-O', 'raw', 'disk', 'raw.%s' % state]
        if state:
            work.run('qemu-img', 'snapshot', '-c', state, 'disk')
        work.run(*raw)
    for old, new in (('one', 'two'), ('one', 'three'), ('two', None), ('three', 'one'), ('two', 'two')):
        size = sizes[new]
        options = ['--from-snapshot=' + old, *(['--to-snapshot=' + new] if new else [])]
        rows = read_json(work.qcbm('extents', *options, '--with=zero', '--output=json', 'disk').raw_out, size)
        dirty, common = ranges(rows), min(size, sizes[old])
        differing = qtool.differing_ranges(work.path('raw.%s' % old), work.path('raw.%s' % new), common)
        if size > common:
            differing = ranges_norm(differing + [(common, size)])
        require_equal(qtool.ranges_minus(differing, dirty, size), [], 'what differs and is not dirty')
        require_equal(ranges(read_csi(work.qcbm('extents', *options, '--output=csi', 'disk').raw_out, size)), dirty, 'csi')
        with open(work.path('raw.%s' % new), 'rb') as f:
            data = f.read()
        for offset, length, _, zero in rows:
            require(not zero or not any(data[offset:offset + length]), 'no zeros at %d' % offset)
        if old == new:
            require_equal(dirty, [], 'a snapshot and itself')
        elif size >= sizes[old]:
            work.qcbm('synth', '-g', 512, '--replace', '--disabled', '--since-snapshot', old,
                      *(['--snapshot', new] if new else []), 'disk', 'b')
            require_equal(qtool.ranges_clip(served(work, 'disk', 'b'), size), dirty, 'what synth finds')
    work.qcbm_refused('extents', '--from-snapshot=none', 'disk', says=['none'])


def thin_delta_case(work):
    """Metadata of two thin volumes, and what the real thin_delta says of them, if it is there."""
    xml = """<superblock uuid="" time="1" transaction="2" version="2" data_block_size="128" nr_data_blocks="4096">
  <device dev_id="1" mapped_blocks="9" transaction="0" creation_time="0" snap_time="1">
    <range_mapping origin_begin="0" data_begin="0" length="8" time="0"/>
    <single_mapping origin_block="20" data_block="30" time="0"/>
  </device>
  <device dev_id="2" mapped_blocks="12" transaction="1" creation_time="1" snap_time="1">
    <range_mapping origin_begin="0" data_begin="0" length="2" time="0"/>
    <range_mapping origin_begin="2" data_begin="100" length="2" time="1"/>
    <range_mapping origin_begin="4" data_begin="4" length="3" time="0"/>
    <range_mapping origin_begin="15" data_begin="200" length="5" time="1"/>
  </device>
</superblock>
"""
    printed = """<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="0">
  <diff left="1" right="2">
    <same begin="0" length="2"/>
    <different begin="2" length="2"/>
    <same begin="4" length="3"/>
    <left_only begin="7" length="1"/>
    <right_only begin="15" length="5"/>
    <left_only begin="20" length="1"/>
  </diff>
</superblock>
"""
    if shutil.which('thin_delta') and shutil.which('thin_restore'):
        with open(work.path('pool.xml'), 'w') as f:
            f.write(xml)
        work.run('truncate', '-s', 4 * MiB, 'pool')
        work.run('thin_restore', '-i', 'pool.xml', '-o', 'pool')
        printed = work.run('thin_delta', '--thin1', 1, '--thin2', 2, 'pool').out
        with open(work.path('verbose'), 'w') as f:
            f.write(work.run('thin_delta', '--verbose', '--thin1', 1, '--thin2', 2, 'pool').out)
        work.create('refuses', MiB)
        work.qcbm_refused('bitmap', '--import', 'verbose', '--format=thin-delta', 'refuses', 'b', says=['--verbose'])
    with open(work.path('delta'), 'w') as f:
        f.write(printed)
    block, size = 128 * 512, 17 * 64 * KiB + 512  # the pool's volume is larger than the disk
    work.create('disk', size)
    work.qcbm('bitmap', '--import', 'delta', '--format=thin-delta', '-g', 512, 'disk', 'b')
    require_equal(served(work, 'disk', 'b'),
                  [(2 * block, 4 * block), (7 * block, 8 * block), (15 * block, size)], 'thin_delta')


def bits_case(work):
    """Bits of trackers: either order, base64, and those of XCP-ng, which leave out what fills no byte."""
    size = 19 * CLUSTER + 512
    work.create('disk', size)
    bits = bytes([0b00000101, 0b10000000, 0b00001100])
    mirrored = bytes(int('{:08b}'.format(b)[::-1], 2) for b in bits)
    dirty = [(0, CLUSTER), (2 * CLUSTER, 3 * CLUSTER), (15 * CLUSTER, 16 * CLUSTER), (18 * CLUSTER, size)]
    tries = [('lsb', bits, ['--format=raw']), ('msb', mirrored, ['--format=raw', '--bit-order=msb']),
             ('text', base64.encodebytes(mirrored), ['--format=raw', '--bit-order=msb', '--base64']),
             ('xen', bits, ['--format=xen-bits']), ('xentext', base64.b64encode(bits), ['--format=xen-bits', '--base64'])]
    for name, data, options in tries:
        with open(work.path(name), 'wb') as f:
            f.write(data)
        work.qcbm('bitmap', '--import', name, *options, '-g', CLUSTER, 'disk', name)
        require_equal(served(work, 'disk', name), dirty, name)
    with open(work.path('short'), 'wb') as f:
        f.write(bits[:2])
    work.qcbm('bitmap', '--import', 'short', '--format=xen-bits', '-g', CLUSTER, 'disk', 'short')
    require_equal(served(work, 'disk', 'short'), dirty[:2] + [(15 * CLUSTER, size)], 'floor of the bits')
    for data, says in ((b'BQ', 'within a group'), (b'BQ==BQ==', 'behind its padding'), (b'BR==', 'last bits'),
                       (b'B*==', 'none of base64'), (b'BQDw', 'behind the end')):
        with open(work.path('bad'), 'wb') as f:
            f.write(data)
        work.qcbm_refused('bitmap', '--import', 'bad', '--format=xen-bits', '--base64', 'disk', 'bad', says=[says],
                          unchanged=['disk'])


def neighbours_case(work):
    """What the neighbours print that qcbm does not: other spellings, other members, and old forms."""
    work.create('disk', MiB)
    half = [(0, 512 * KiB)]
    accepted = {
        'csi': ['[{"block_metadata_type":1,"volume_capacity_bytes":1048576,"block_metadata":[{"size_bytes":524288}]}]',
                '[{"blockMetadata":[{"sizeBytes":"524288"}],"blockMetadataType":"VARIABLE_LENGTH",'
                '"volumeCapacityBytes":"1048576"}]'],
        'csi-lines': ['{"block_metadata_type":2,"volume_capacity_bytes":1048576,"block_metadata":[{"size_bytes":65536}]}\n'
                      '{"block_metadata_type":2,"volume_capacity_bytes":1048576,"block_metadata":'
                      '[{"byte_offset":65536,"size_bytes":458752}]}\n'],
        'xen-json': ['{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[0,1,2,3,4,5,6,7]}',
                     '{"virtual_size":1048576,"cluster_bits":19,"data_clusters":[[0,0]]}'],
        'rbd': ['[{"offset":0,"length":262144,"exists":"true"},{"offset":262144,"length":262144,"exists":"false"}]'],
        'ovirt': ['[{"start":0,"length":524288,"zero":false,"hole":false},'
                  '{"start":524288,"length":524288,"zero":true,"hole":true}]',
                  '[{"start":0,"length":524288,"dirty":true},{"start":524288,"length":524288,"dirty":false}]'],
        'json': ['[{"start":0,"length":524288,"depth":0,"present":true},{"start":524288,"length":524288,"depth":1}]'],
    }
    for form, texts in accepted.items():
        for i, text in enumerate(texts):
            with open(work.path('in'), 'w') as f:
                f.write(text)
            name = '%s%d' % (form, i)
            work.qcbm('bitmap', '--import', 'in', '--format=' + form, '-g', CLUSTER, 'disk', name)
            require_equal(served(work, 'disk', name), half, name)


def many_case(work):
    """Memory is flat: half a million extents, with a limit that a list in memory would pass."""
    work.create('disk', 512 * MiB, 'cluster_size=4k')
    with open(work.path('bits'), 'wb') as f:
        f.write(b'\x55' * (512 * MiB // 512 // 8))
    work.qcbm('bitmap', '--import', 'bits', '--format=raw', '-g', 512, 'disk', 'b')
    want = work.qcbm('extents', 'disk', 'b').raw_out
    limit = ['prlimit', '--as=%d' % (192 * MiB)]
    if work.run(*limit, qtool.QCBM, '--version', rc=None).code:
        limit = []  # a build with sanitizers, which needs more than that for nothing
    for form in ('jsonl', 'csi'):
        work.qcbm('bitmap', '--export', 'out', '--force', '--format=' + form, 'disk', 'b')
        work.run(*limit, qtool.QCBM, 'bitmap', '--import', 'out', '--format=' + form, '-g', 512,
                 'disk', form)
        require_equal(work.qcbm('extents', 'disk', form).raw_out, want, form)


def main():
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    args = arguments('extents in the forms of other programs')
    cases = []
    for i, (sizes, granularity) in enumerate([((4 * MiB, 4 * MiB), CLUSTER), ((4 * MiB, 2 * MiB, 5 * MiB + 1536), 4 * KiB),
                                              ((2 * MiB, MiB, 3 * MiB), 512)]):
        cases.append((round_trip_case, 'round_trip_%d' % i, dict(seed=args.seed + i, sizes=sizes, granularity=granularity)))
        cases.append((layers_case, 'layers_%d' % i, dict(seed=args.seed + 10 + i, sizes=sizes)))
        cases.append((snapshots_case, 'snapshots_%d' % i, dict(seed=args.seed + 20 + i)))
    for function in (alone_case, thin_delta_case, bits_case, neighbours_case, many_case):
        cases.append((function, function.__name__[:-5], {}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
