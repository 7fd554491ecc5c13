#!/usr/bin/env python3
# picture.py - qcbm picture: each cell, to the byte, beside qemu-img map, nbdinfo and the metadata itself, read back
# from SVG and PNG
#
# SPDX-License-Identifier: MIT

import collections
import itertools
import json
import random
import re
import struct
import xml.etree.ElementTree
import zlib

from qtool import (KiB, MiB, Qcow2, arguments, need_tools, patch, ranges_norm, require, require_equal, run_cases,
                   served_dirty)

OFFSET = 0x00fffffffffffe00
LEVELS = 3


# ---- what cells must be: from runs of (start, end, kind), by somebody else -------------------------------------

def cut(runs, size, cell):
    """Bytes of each kind in each cell."""
    cells = [collections.Counter() for _ in range(max(1, -(-size // cell)))]
    for start, end, kind in runs:
        while start < end:
            stop = min(end, start // cell * cell + cell)
            cells[start // cell][kind] += stop - start
            start = stop
    return cells


def map_runs(work, image, name_of, fmt='qcow2'):
    rows = json.loads(work.run('qemu-img', 'map', '--output=json', '-f', fmt, image).out)
    return [(r['start'], r['start'] + r['length'], name_of(r)) for r in rows]


def content(row):
    return 'none' if not row['present'] else 'zero' if row['zero'] else 'data'


def plain(row):
    return 'compressed' if content(row) == 'data' and row.get('compressed', 'offset' not in row) else content(row)


def overlay(base, *marks):
    """Runs over the same disk, each mark a list of ranges -> (start, end, kind of base, which marks)."""
    cuts = sorted({x for run in base for x in run[:2]} | {x for mark in marks for one in mark for x in one})
    end = max(run[1] for run in base)
    at = 0
    where = [0] * len(marks)
    for a, b in zip(cuts, cuts[1:]):
        if a >= end:
            return
        while base[at][1] <= a:
            at += 1
        inside = []
        for i, mark in enumerate(marks):
            while where[i] < len(mark) and mark[where[i]][1] <= a:
                where[i] += 1
            inside.append(where[i] < len(mark) and mark[where[i]][0] <= a)
        yield a, b, base[at][2], tuple(inside)


def look(kinds, counts, length):
    """Which kind a cell shows, and how much of it."""
    for number, kind in enumerate(kinds[:-1]):
        if counts[kind]:
            return number, 2 if 4 * counts[kind] >= 3 * length else 1 if 4 * counts[kind] >= length else 0
    return len(kinds) - 1, 2


def hilbert(side):
    """The places of the curve in order: four smaller ones, the first and the last turned."""
    if side == 1:
        return [(0, 0)]
    half = side // 2
    small = hilbert(half)
    return ([(y, x) for x, y in small] + [(x, y + half) for x, y in small] + [(x + half, y + half) for x, y in small]
            + [(side - 1 - y, half - 1 - x) for x, y in small])


# ---- decoders --------------------------------------------------------------------------------------------------

def decode_png(data):
    """-> width, height, palette, rows of numbers of colours."""
    require_equal(data[:8], b'\x89PNG\r\n\x1a\n', 'magic of a PNG')
    at, chunks = 8, []
    while at < len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        body = data[at + 8:at + 8 + length]
        crc, = struct.unpack_from('>I', data, at + 8 + length)
        require_equal(crc, zlib.crc32(kind + body), 'checksum of %r' % kind)
        chunks.append((kind, body))
        at += 12 + length
    require_equal([kind for kind, _ in chunks], [b'IHDR', b'PLTE', b'IDAT', b'IEND'], 'chunks')
    width, height, depth, colour, *rest = struct.unpack('>IIBBBBB', chunks[0][1])
    require_equal((depth, colour, rest), (8, 3, [0, 0, 0]), 'kind of PNG')
    raw = zlib.decompress(chunks[2][1])
    require_equal(len(raw), height * (width + 1), 'bytes of a PNG')
    rows = [raw[y * (width + 1):(y + 1) * (width + 1)] for y in range(height)]
    require(all(row[0] == 0 for row in rows), 'filter of a row')
    palette = [tuple(chunks[1][1][i:i + 3]) for i in range(0, len(chunks[1][1]), 3)]
    require(max(map(max, rows)) < len(palette), 'a dot without a colour')
    return width, height, palette, [row[1:] for row in rows]


def recover_png(data, picture):
    """-> (kind, level) of each place, or None; all dots of a place must be alike."""
    frame = picture['frame']
    _, _, palette, rows = decode_png(data)
    places = {}
    for x, y in itertools.product(range(picture['width']), range(picture['height'])):
        left, top, side = frame['left'] + x * frame['side'], frame['top'] + y * frame['side'], frame['side']
        dots = {dot for row in rows[top:top + side] for dot in row[left:left + side]}
        require_equal(len(dots), 1, 'colours of place %d, %d' % (x, y))
        dot = dots.pop()
        places[x, y] = divmod(dot - 2, LEVELS) if dot >= 2 else None
    return places, palette


TITLE = re.compile(r'(\d+) to (\d+) \(.* at .*\): (.*)')


def recover_svg(text, picture):
    """-> for each place: start, length, bytes by label, class."""
    root = xml.etree.ElementTree.fromstring(text)
    space = '{http://www.w3.org/2000/svg}'
    tags = {element.tag for element in root.iter()}
    require(tags <= {space + name for name in ('svg', 'title', 'desc', 'style', 'text', 'rect')}, 'tags %r' % tags)
    frame, places, count = picture['frame'], {}, 0
    for rect in root.iter(space + 'rect'):
        count += 1
        require(not any(name.lower().startswith('on') or 'href' in name for name in rect.attrib), 'attributes')
        if rect.find(space + 'title') is None:
            continue  # of the legend
        start, end, words = TITLE.fullmatch(rect.find(space + 'title').text).groups()
        start, end = int(start), int(end)
        x, y, width, height = (int(rect.get(name)) for name in ('x', 'y', 'width', 'height'))
        require((x - frame['left']) % frame['side'] == 0 and width % frame['side'] == 0, 'a rectangle beside cells')
        x, width = (x - frame['left']) // frame['side'], width // frame['side']
        y, height = (y - frame['top']) // frame['side'], height // frame['side']
        n = width * height
        sums = {}
        for piece in words.split('; '):
            label, number = re.fullmatch(r'(.*) (\d+) bytes', piece).groups()
            require(int(number) % n == 0, 'cells of a block are not alike')
            sums[label] = int(number) // n
        for place in itertools.product(range(x, x + width), range(y, y + height)):
            require(place not in places, 'two rectangles at %r' % (place,))
            places[place] = (start, end, n, sums, rect.get('class'))
    return places, count


# ---- comparisons -----------------------------------------------------------------------------------------------

def check_cells(picture, expected, size):
    kinds = [kind['name'] for kind in picture['kinds']]
    require_equal(picture['size'], size, 'size')
    require_equal(len(picture['cells']), len(expected), 'cells')
    total = collections.Counter()
    for number, (cell, counts) in enumerate(zip(picture['cells'], expected)):
        require_equal(cell['start'], number * picture['cell-size'], 'start of cell %d' % number)
        require_equal(cell['length'], min(picture['cell-size'], size - cell['start']), 'length of cell %d' % number)
        require_equal(cell['bytes'], {k: v for k, v in counts.items() if v}, 'cell %d' % number)
        require_equal((cell['kind'], cell['level']), look(kinds, counts, cell['length']), 'look of cell %d' % number)
        total.update(counts)
    require_equal({k['name']: k['bytes'] for k in picture['kinds']}, {k: total[k] for k in kinds}, 'totals')


def places_of(picture):
    if picture['layout'] == 'rows':
        return [(i % picture['width'], i // picture['width']) for i in range(len(picture['cells']))]
    return hilbert(picture['width'])[:len(picture['cells'])]


def check_png(work, args, picture, theme):
    name = work.path('p.png')
    work.qcbm('picture', '-q', '--force', '-o', name, '--theme=' + theme, *args)
    with open(name, 'rb') as f:
        places, palette = recover_png(f.read(), picture)
    drawn = dict(zip(places_of(picture), picture['cells']))
    for place, got in places.items():
        cell = drawn.get(place)
        require_equal(got, (cell['kind'], cell['level']) if cell else None, 'PNG, place %r' % (place,))
    for number, kind in enumerate(picture['kinds']):
        want = [tuple(bytes.fromhex(colour[1:])) for colour in kind['colours-' + theme]]
        require_equal(palette[2 + LEVELS * number:][:LEVELS], want, 'colours of %s' % kind['name'])


def check_svg(work, args, picture):
    name = work.path('p.svg')
    work.qcbm('picture', '-q', '--force', '-o', name, *args)
    with open(name, encoding='utf-8') as f:
        text = f.read()
    places, count = recover_svg(text, picture)
    require(count <= 65536 + 64, 'SVG with %d rectangles' % count)
    labels = {kind['name']: kind['label'] for kind in picture['kinds']}
    drawn = dict(zip(places_of(picture), picture['cells']))
    require_equal(sorted(places), sorted(drawn), 'places of the SVG')
    for place, (start, end, n, sums, look_class) in places.items():
        cell = drawn[place]
        require(start <= cell['start'] and cell['start'] + cell['length'] <= end, 'range of %r' % (place,))
        require_equal(end - start, cell['length'] * n, 'length of %r' % (place,))
        require_equal(sums, {labels[k]: v for k, v in cell['bytes'].items()}, 'SVG, place %r' % (place,))
        require_equal(look_class, 'k%dl%d' % (cell['kind'], cell['level']), 'SVG, place %r' % (place,))
    return text


def check_picture(work, args, runs, size, widths=((None, None),)):
    """In JSON alone, and in files of both kinds and layouts."""
    picture = json.loads(work.qcbm('picture', '--output=json', *args).out)
    check_cells(picture, cut(runs, size, picture['cell-size']), size)
    for layout, width in widths:
        more = [*(['--layout=' + layout] if layout else []), *(['--width', str(width)] if width else []), *args]
        for form in 'svg', 'png':
            name = work.path('j.' + form)
            picture = json.loads(work.qcbm('picture', '--output=json', '--force', '-o', name, *more).out)
            check_cells(picture, cut(runs, size, picture['cell-size']), size)
            if form == 'svg':
                check_svg(work, more, picture)
            else:
                check_png(work, more, picture, 'light')
    if widths[0][0]:
        check_png(work, more, picture, 'dark')


def dirty_of(work, image, name):
    return served_dirty(work, image, [name])[name]


def scribble(work, image, rng, size, unit, count):
    for _ in range(count):
        start = rng.randrange(0, size // unit) * unit
        length = min(size - start, unit * rng.randrange(1, 9))
        work.io(image, rng.choice(['write -P 7 %d %d', 'write -z %d %d', 'write -P 9 %d %d']) % (start, length))


def make_chain(work, rng, sizes, cluster, extended=False):
    options = 'cluster_size=%d%s' % (cluster, ',extended_l2=on' if extended else '')
    below = None
    for number, size in enumerate(sizes):
        name = 'layer%d.qcow2' % number
        work.create(name, size, options, below)
        work.io(name, 'write -c -P 3 %d %d' % (size // 2 // cluster * cluster, cluster))
        scribble(work, name, rng, size, cluster // 32 if extended else cluster, 12)
        below = name
    return below


# ---- cases -----------------------------------------------------------------------------------------------------

def map_case(work, seed, sizes, cluster, extended, widths):
    rng = random.Random(seed)
    top = make_chain(work, rng, sizes, cluster, extended)
    size = sizes[-1] // 512 * 512
    check_picture(work, [top], map_runs(work, top, plain), size, widths)
    depth = lambda r: 'layer-%d' % r['depth'] if content(r) == 'data' else content(r)
    check_picture(work, ['--chain', top], map_runs(work, top, depth), size)


def bitmap_case(work, seed, size, cluster, widths):
    rng = random.Random(seed)
    top = make_chain(work, rng, [size, size], cluster)
    names = ['one', 'two', 'three']
    for name in names:
        work.run('qemu-img', 'bitmap', '--add', '-g', '4096', top, name)
        scribble(work, top, rng, size, 512, 8)
    base = map_runs(work, top, content)
    marks = [dirty_of(work, top, name) for name in names]
    one = [(a, b, ('dirty-' if bits[0] else '') + kind) for a, b, kind, bits in overlay(base, marks[0])]
    check_picture(work, ['-b', 'one', top], one, size, widths)
    words = {(True, False): 'only-first', (False, True): 'only-second', (True, True): 'both'}
    two = [(a, b, words.get(bits, kind)) for a, b, kind, bits in overlay(base, marks[1], marks[2])]
    check_picture(work, ['-b', 'two', '-b', 'three', top], two, size)
    three = [(a, b, 'in-%d' % sum(bits) if any(bits) else kind) for a, b, kind, bits in overlay(base, *marks)]
    check_picture(work, ['-b', 'one', '-b', 'two', '-b', 'three', top], three, size)
    dirty = json.loads(work.qcbm('extents', '--output=json', top, 'one').out)
    picture = json.loads(work.qcbm('picture', '--output=json', '-b', 'one', top).out)
    require_equal(sum(k['bytes'] for k in picture['kinds'] if k['name'].startswith('dirty')),
                  sum(e['length'] for e in dirty if e['type'] == 1), 'dirty bytes of picture and of extents')


def chain_bitmap_case(work, seed):
    """What the bitmaps of all layers say together, beside one that qcbm bitmap --collect makes and QEMU serves; also of two disks."""
    rng = random.Random(seed)
    size = 8 * MiB
    for k, name in enumerate(('base.qcow2', 'mid.qcow2', 'top.qcow2', 'other.qcow2')):
        work.create(name, size, backing=[None, 'base.qcow2', 'mid.qcow2', 'mid.qcow2'][k])
        for bitmap in ('deep', 'one') if k else ('deep',):
            work.run('qemu-img', 'bitmap', '--add', '-g', [64 * KiB, 4 * KiB, 32 * KiB, 4 * KiB][k], name, bitmap)
        scribble(work, name, rng, size, 512, 6)
    got = {}
    for top, against in ('top.qcow2', []), ('top.qcow2', ['--against', 'other.qcow2']):
        for bitmap in 'deep', 'one':
            got[bitmap, len(against)] = json.loads(work.qcbm('picture', '--output=json', '--chain', '-b', bitmap, *against, top).out)
    for name in 'top.qcow2', 'other.qcow2':
        for bitmap in 'deep', 'one':
            work.qcbm('bitmap', '-q', '--collect', bitmap, '--as', 'all-' + bitmap, name)
    base = map_runs(work, 'top.qcow2', content)
    words = {(True, False): 'only-first', (False, True): 'only-second', (True, True): 'both'}
    for bitmap in 'deep', 'one':
        marks = [dirty_of(work, name, 'all-' + bitmap) for name in ('top.qcow2', 'other.qcow2')]
        require(marks[0] != dirty_of(work, 'top.qcow2', bitmap), 'the layers below add nothing')
        runs = [(a, b, ('dirty-' if bits[0] else '') + kind) for a, b, kind, bits in overlay(base, marks[0])]
        two = [(a, b, words.get(bits, kind)) for a, b, kind, bits in overlay(base, *marks)]
        for expected, picture in (runs, got[bitmap, 0]), (two, got[bitmap, 2]):
            check_cells(picture, cut(expected, size, picture['cell-size']), size)
            require_equal((picture['chain'], picture['layers']), (True, []), 'what it is of')
    work.run('qemu-img', 'bitmap', '--remove', 'mid.qcow2', 'deep')
    work.qcbm_refused('picture', '--chain', '-b', 'deep', 'top.qcow2', says=['mid.qcow2', 'no bitmap'])


def legend_case(work, layers):
    """The files of the layers that have kinds of their own are told below the legend, in each form; JSON has all of them."""
    names = ['l%d<&\x1b\u00e9.qcow2' % k for k in range(layers)]
    for k, name in enumerate(names):
        work.create(name, MiB, backing=names[k - 1] if k else None)
        work.io(name, 'write %dk 64k' % (64 * k))
    picture = json.loads(work.qcbm('picture', '--chain', '--output=json', names[-1]).out)
    require_equal(picture['layers'], names[::-1], 'layers')
    lines = ['layer %d: %s' % (k, name.replace('\x1b', '\\x1b')) for k, name in enumerate(picture['layers'][:6])]
    if layers > 6:
        lines[5] += ', and %d below it' % (layers - 6)
    text = work.qcbm('picture', '--chain', names[-1]).out
    require_equal([line.strip() for line in text.splitlines() if line.strip().startswith('layer ')], lines, 'on a terminal')
    svg = check_svg(work, ['--chain', names[-1]], json.loads(work.qcbm(
        'picture', '--chain', '--output=json', '--force', '-o', 'x.svg', names[-1]).out))
    space = '{http://www.w3.org/2000/svg}'
    root = xml.etree.ElementTree.fromstring(svg)
    told = [(element.text, int(element.get('y'))) for element in root.iter(space + 'text')]
    require_equal([text for text, _ in told if text.startswith('layer ')], lines, 'in SVG')
    require(max(y for _, y in told) < int(root.get('height')), 'the legend is cut off')
    check_png(work, ['--chain', names[-1]], json.loads(work.qcbm(
        'picture', '--chain', '--output=json', '--force', '-o', 'x.png', names[-1]).out), 'light')


def against_case(work, seed, size, other_size):
    rng = random.Random(seed)
    work.create('base.qcow2', size)
    scribble(work, 'base.qcow2', rng, size, 64 * KiB, 6)
    work.io('base.qcow2', 'write -P 1 0 %d' % (256 * KiB))
    for name, length in ('here.qcow2', size), ('there.qcow2', other_size):
        work.create(name, length, backing='base.qcow2')
        work.run('qemu-img', 'bitmap', '--add', name, 'b')
        scribble(work, name, rng, min(size, length), 64 * KiB, 6)
    layer = lambda r: (r['depth'] + 10 * (content(r) == 'data'))
    here, there = map_runs(work, 'here.qcow2', layer), map_runs(work, 'there.qcow2', layer)
    whole = max(size, other_size)
    fill = lambda runs: runs + ([(runs[-1][1], whole, 0)] if runs[-1][1] < whole else [])
    here, there = fill(here), fill(there)
    runs = []
    for a, b in itertools.pairwise(sorted({x for run in here + there for x in run[:2]})):
        one = next(kind for start, end, kind in here if start <= a < end)
        two = next(kind for start, end, kind in there if start <= a < end)
        # both tops are at depth 0, and different files; the base is one file
        runs.append((a, b, ('same-data' if one == two == 11 else 'both') if one >= 10 and two >= 10
                     else 'only-here' if one >= 10 else 'only-there' if two >= 10 else 'same-zero'))
    check_picture(work, ['--against', 'there.qcow2', 'here.qcow2'], runs, whole)
    first, second = dirty_of(work, 'here.qcow2', 'b'), dirty_of(work, 'there.qcow2', 'b')
    words = {(True, False): 'only-first', (False, True): 'only-second', (True, True): 'both'}
    base = map_runs(work, 'here.qcow2', content)
    base += [(size, whole, 'none')] if size < whole else []
    check_picture(work, ['-b', 'b', '--against', 'there.qcow2', 'here.qcow2'],
                  [(a, b, words.get(bits, kind)) for a, b, kind, bits in overlay(base, first, second)], whole)


def uses_of(image):
    """What each cluster of the file is used for, from its bytes: {cluster: kind}, and where a run of data begins."""
    q, uses, begins, last = Qcow2(image), {}, set(), None
    size = q.cluster_size
    width = 2 if q.extended_l2 else 1
    clusters = lambda offset, length: range(offset // size, -(-(offset + length) // size))

    def use(kind, offset, length):
        for cluster in clusters(offset, length):
            uses.setdefault(cluster, kind)

    def l1_of(offset, count, active):
        nonlocal last
        use('metadata', offset, 8 * count)
        for entry in q.words(offset, count):
            if not entry & OFFSET:
                continue
            use('metadata', entry & OFFSET, size)
            for word in q.words(entry & OFFSET, size // 8)[::width]:
                if word & 1 << 62:
                    bits = 62 - (q.cluster_bits - 8)
                    start = word & (1 << bits) - 1
                    sectors = (word >> bits) & (1 << (q.cluster_bits - 8)) - 1
                    late.append(('compressed' if active else 'snapshots', start, (sectors + 1) * 512 - start % 512))
                elif word & OFFSET:
                    late.append(('data' if active else 'snapshots', word & OFFSET, size))
                    if active:
                        if last is None or last + 1 != (word & OFFSET) // size:
                            begins.add((word & OFFSET) // size)
                        last = (word & OFFSET) // size

    late = []
    use('metadata', 0, size)
    table = [entry & ~511 for entry in q.words(q.reftable_offset, q.reftable_clusters * size // 8)]
    use('metadata', q.reftable_offset, q.reftable_clusters * size)
    for entry in filter(None, table):
        use('metadata', entry, size)
    l1_of(q.l1_offset, q.l1_size, True)
    if q.nb_snapshots:
        entries = q.snapshot_table()
        use('metadata', q.snapshots_offset, sum((len(e) + 7) & ~7 for e in entries))
        for e in entries:
            l1_of(*struct.unpack_from('>QI', e), False)
    if q.nb_bitmaps:
        late.append(('bitmaps', q.directory_offset, q.directory_size))
        for bitmap in q.bitmaps():
            late.append(('bitmaps', bitmap.table_offset, 8 * bitmap.table_size))
            late += [('bitmaps', entry & OFFSET, size) for entry in bitmap.table if entry & OFFSET]
    for kind in 'bitmaps', 'data', 'compressed', 'snapshots':
        for name, offset, length in late:
            if name == kind:
                use(kind, offset, length)
    return q, uses, begins


def host_runs(image):
    q, uses, begins = uses_of(image)
    size, out = q.cluster_size, []
    for cluster in range(-(-q.file_size // size)):
        counted = q.refcount(cluster * size) != 0
        kind = uses.get(cluster)
        kind = ('leaked' if counted else 'free') if kind is None else kind if counted else 'uncounted'
        start, end = cluster * size, min(q.file_size, (cluster + 1) * size)
        if out and out[-1][2] == kind and not (kind == 'data' and cluster in begins):
            out[-1] = (out[-1][0], end, kind)
        else:
            out.append((start, end, kind))
    return q, [(a, b, 'scattered' if kind == 'data' and b - a < MiB else kind) for a, b, kind in out]


def host_case(work, seed, cluster, extended, size):
    rng = random.Random(seed)
    work.create('i.qcow2', size, 'cluster_size=%d%s' % (cluster, ',extended_l2=on' if extended else ''))
    work.run('qemu-img', 'bitmap', '--add', 'i.qcow2', 'b')
    scribble(work, 'i.qcow2', rng, size, cluster, 10)
    work.run('qemu-img', 'snapshot', '-c', 's', 'i.qcow2')
    scribble(work, 'i.qcow2', rng, size, cluster, 10)
    work.io('i.qcow2', 'write -P 5 %d 3M' % (size - 3 * MiB), 'write -c -P 6 %d %d' % (size // 2, cluster),
            'discard 0 %d' % (size // 4))
    q, runs = host_runs(work.path('i.qcow2'))
    check_picture(work, ['--host', 'i.qcow2'], runs, q.file_size, ((None, None), ('rows', 48)))
    kinds = {kind for _, _, kind in runs}
    require({'metadata', 'bitmaps', 'snapshots', 'data', 'scattered'} <= kinds, 'the case shows %r' % kinds)
    # counted, and nobody's; and the other way round: one refcount each, by hand
    free = next((a for a, b, kind in runs if kind == 'free'), None)
    used = next(a for a, b, kind in runs if kind == 'scattered')
    per_block = cluster * 8 // (1 << q.refcount_order)
    for at, value in (free, 1), (used, 0):
        if at is None:
            continue
        block = q.words(q.reftable_offset + 8 * (at // cluster // per_block), 1)[0] & ~511
        patch(work.path('i.qcow2'), block + at // cluster % per_block * 2, struct.pack('>H', value))
    q, runs = host_runs(work.path('i.qcow2'))
    require('uncounted' in {kind for _, _, kind in runs}, 'no cluster without its refcount')
    check_picture(work, ['--host', 'i.qcow2'], runs, q.file_size)


HOSTILE = ['<script>alert(1)</script>', '"&\'>]]>', 'esc\x1b[31mred', 'turn\u202etxt.exe', 'nul\u0085c1',
           'tab\tnew\nline']


def hostile_case(work):
    for number, name in enumerate(HOSTILE):
        image = 'i%d%s.qcow2' % (number, name.replace('/', '|'))
        work.create(image, MiB)
        work.run('qemu-img', 'bitmap', '--add', image, name)
        raw = [c.encode() for c in name if ord(c) < 0x20 or ord(c) > 0x7e] or [name.encode()]
        out = work.qcbm('picture', '-b', name, './' + image).raw_out
        if '<' not in name and '"' not in name:
            require(not any(c in out.replace(b'\n', b'') for c in raw if c != b'\n'), 'raw on the terminal: %r' % out)
        for form in 'svg', 'png':
            work.qcbm('picture', '-b', name, '-o', 'out%d.%s' % (number, form), './' + image)
        with open(work.path('out%d.svg' % number), 'rb') as f:
            text = f.read()
        require(not any(c in text.replace(b'\n', b'') for c in raw if c != b'\n'), 'raw in the SVG: %r' % name)
        root = xml.etree.ElementTree.fromstring(text)
        require(image[:2] in root[0].text, 'title without the name')
        if name.isprintable():
            require(name.replace('/', '|') in root[0].text and name in root[0].text, 'title %r' % root[0].text)
        with open(work.path('out%d.png' % number), 'rb') as f:
            decode_png(f.read())
        picture = json.loads(work.qcbm('picture', '--output=json', '-b', name, './' + image).out)
        require_equal(picture['bitmaps'], [name], 'name in JSON')


def letters_case(work):
    """What does not fit into a PNG ends in three dots, and a letter that the font lacks is a question mark."""
    def png(image):
        work.create(image, MiB)
        work.qcbm('picture', '--force', '-o', 'out.png', './' + image)
        with open(work.path('out.png'), 'rb') as f:
            return f.read()

    width, _, _, rows = decode_png(png('x' * 90))
    letters = [[row[x:x + 12] for row in rows[8:26]] for x in range(12, width - 11, 12)]  # of the title, by the left margin
    letters = [[set(row) for row in letter] for letter in letters if any(1 in row for row in letter)]
    require(letters[4] == letters[5] == letters[-4] != letters[-1] and letters[-3:] == letters[-1:] * 3, 'letters that are alike')
    require(not any(1 in row for row in letters[-1][:8]), 'a dot is low')
    require(png('\u00e9') == png('?') != png('!'), 'a letter beyond ASCII')


def checkerboard_case(work):
    """The most cells that an SVG can have, none of them like its neighbour."""
    work.create('c.qcow2', 32 * MiB, 'cluster_size=512')
    pieces = []
    for at in range(0, 32 * MiB, 64 * KiB):  # a cell of 512 bytes in two, over a part of the disk
        pieces.append('write -P 1 %d 512' % at)
    work.io('c.qcow2', *pieces)
    check_picture(work, ['c.qcow2'], map_runs(work, 'c.qcow2', plain), 32 * MiB, (('hilbert', 256), ('rows', 512)))


def many_extents_case(work):
    """More extents than the picture asks for at once: every second granule, and in the second half of the disk none."""
    size = 32 * MiB
    work.create('m.qcow2', size)
    with open(work.path('bits'), 'wb') as f:
        f.write(b'\x55' * (size // 512 // 16) + bytes(size // 512 // 16))
    work.qcbm('bitmap', '-q', '--import', 'bits', '--format=raw', '-g', '512', 'm.qcow2', 'b')
    runs = [(at + part, at + part + 512, kind) for at in range(0, size // 2, 1024)
            for part, kind in ((0, 'dirty-none'), (512, 'none'))] + [(size // 2, size, 'none')]
    for options in [], ['--chain']:
        picture = json.loads(work.qcbm('picture', '--output=json', *options, '-b', 'b', 'm.qcow2').out)
        check_cells(picture, cut(runs, size, picture['cell-size']), size)


# ---- colours ---------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes 2009, severity 1: what is seen without one kind of cones, of linear light
SIGHT = {'all': ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
         'protanopia': ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                          (-0.003882, -0.048116, 1.051998)),
         'deuteranopia': ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                          (-0.011820, 0.042940, 0.968881)),
         'tritanopia': ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                          (0.004733, 0.691367, 0.303900))}


def seen(colour, matrix):
    """CIE L*a*b* of an sRGB colour, as that sight has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5))]
    r, g, b = (min(1, max(0, sum(m * c for m, c in zip(row, linear)))) for row in matrix)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116
               for t in ((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047,
                         0.2126729 * r + 0.7151522 * g + 0.0721750 * b,
                         (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def colours_case(work):
    """Full colours of any two kinds of a picture differ clearly, whoever looks at them, and shades of them for most."""
    work.create('i.qcow2', MiB)
    names = ['b%d' % i for i in range(6)]
    for name in names:
        work.run('qemu-img', 'bitmap', '--add', 'i.qcow2', name)
    several = [['-b', name] for name in names]
    for i in range(7):  # kinds for the layers that there are, and for six at most
        chain = work.create('c%d.qcow2' % i, MiB, backing='c%d.qcow2' % (i - 1) if i else None)
        picture = json.loads(work.qcbm('picture', '--output=json', '--chain', chain).out)
        require_equal([kind['name'] for kind in picture['kinds']],
                      ['layer-%d' % n for n in range(min(i + 1, 6))] + ['zero', 'none'], 'kinds of %d layers' % (i + 1))
    for args in [], ['--chain'], ['--host'], ['--against', 'i.qcow2'], *(sum(several[:n], []) for n in (1, 2, 6)):
        picture = json.loads(work.qcbm('picture', '--output=json', *args, chain if '--chain' in args else 'i.qcow2').out)
        for theme, (sight, matrix) in itertools.product(('light', 'dark'), SIGHT.items()):
            for one, two in itertools.combinations(picture['kinds'], 2):
                a, b = (seen(kind['colours-' + theme][-1], matrix) for kind in (one, two))
                distance = sum((p - q) ** 2 for p, q in zip(a, b)) ** .5
                require(distance >= 15, '%s, %s, %s: %s and %s are %.1f apart'
                        % (' '.join(args), theme, sight, one['name'], two['name'], distance))
            ground = picture['kinds'][-1]  # has one shade
            shades = [[seen(colour, matrix) for colour in kind['colours-' + theme][-1 if kind is ground else 0:]]
                      for kind in picture['kinds'] if sight == 'all']
            for one, two in itertools.combinations(range(len(shades)), 2):
                distance = min(sum((p - q) ** 2 for p, q in zip(a, b)) ** .5
                               for a, b in itertools.product(shades[one], shades[two]))
                require(distance >= 8, '%s, %s: a shade of %s and one of %s are %.1f apart'
                        % (' '.join(args), theme, picture['kinds'][one]['name'], picture['kinds'][two]['name'], distance))


def sizes_case(work):
    """Nothing, less than a cell, and much more than there is memory for."""
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'none.qcow2', '0')
    picture = json.loads(work.qcbm('picture', '--output=json', 'none.qcow2').out)
    require_equal(picture['cells'], [], 'cells of an empty disk')
    for form in 'svg', 'png':
        work.qcbm('picture', '-o', 'none.' + form, 'none.qcow2')
    work.create('small.qcow2', 1536)
    check_picture(work, ['small.qcow2'], [(0, 1536, 'none')], 1536, (('rows', 1), ('hilbert', 1), ('rows', 4096)))
    work.create('huge.qcow2', 1 << 55, 'cluster_size=2M')
    work.io('huge.qcow2', 'write -P 1 %d 64k' % (1 << 54))
    runs = [(0, 1 << 54, 'none'), (1 << 54, (1 << 54) + 2 * MiB, 'data'), ((1 << 54) + 2 * MiB, 1 << 55, 'none')]
    check_picture(work, ['huge.qcow2'], runs, 1 << 55, (('rows', 96), ('hilbert', 64)))
    with open(work.path('raw'), 'wb') as f:
        f.write(b'x' * 8192)
        f.truncate(MiB)
    check_picture(work, ['raw'], map_runs(work, 'raw', plain, 'raw'), MiB)
    for args, says in ((['--host', 'raw'], 'qcow2 files'), (['-b', 'b', 'raw'], 'no bitmaps')):
        work.qcbm_refused('picture', *args, says=[says], file='raw')


def main():
    args = arguments('qcbm picture beside qemu-img map, nbdinfo, and the metadata itself')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    both = (('hilbert', 32), ('rows', 37))
    more = (('hilbert', None), ('rows', None), *both)
    cases = [(hostile_case, 'hostile', {}), (letters_case, 'letters', {}), (colours_case, 'colours', {}), (sizes_case, 'sizes', {}),
             (checkerboard_case, 'checkerboard', {}), (many_extents_case, 'many-extents', {})]
    for number, (cluster, extended, sizes) in enumerate((
            (64 * KiB, False, [16 * MiB] * 3), (512, False, [MiB, MiB + 1536]),
            (64 * KiB, True, [8 * MiB, 5 * MiB, 8 * MiB]))):
        cases.append((map_case, 'map-%d%s' % (cluster, '-extended' if extended else ''),
                      {'seed': args.seed + number, 'sizes': sizes, 'cluster': cluster, 'extended': extended,
                       'widths': both if number else more}))
    cases += [(bitmap_case, 'bitmap-%d' % cluster,
               {'seed': args.seed, 'size': size, 'cluster': cluster, 'widths': both})
              for cluster, size in ((64 * KiB, 16 * MiB), (4 * KiB, 3 * MiB + 512))]
    cases += [(chain_bitmap_case, 'chain-bitmap', {'seed': args.seed})]
    cases += [(legend_case, 'legend-%d' % n, {'layers': n}) for n in (2, 8)]
    cases += [(against_case, 'against-' + name, {'seed': args.seed, 'size': 8 * MiB, 'other_size': other})
              for name, other in (('equal', 8 * MiB), ('larger', 12 * MiB), ('smaller', 4 * MiB))]
    cases += [(host_case, 'host-%d%s' % (cluster, '-extended' if extended else ''),
               {'seed': args.seed, 'cluster': cluster, 'extended': extended, 'size': 16 * MiB})
              for cluster, extended in ((64 * KiB, False), (4 * KiB, False), (64 * KiB, True))]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
