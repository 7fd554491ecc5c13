#!/usr/bin/env python3
# opens.py - what opens as a raw image, what as qcow2, what does not open, and what is said then, beside qemu-img
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool; QCBM_TEST_PART = n runs each n-th case. Needs qemu-img. Outputs are compared as in
# views.py. Where an image does not open, exit codes are equal, and qcbm's message begins with that of qemu-img, behind
# which it may have figures and the offset.

import os
import random
import re
import struct
import subprocess
import sys

import qtool
import views

QCBM = views.QCBM
PART = views.qtool.test_part()
faults = views.faults
tried = 0


def run(tool, *arguments):
    done = subprocess.run([tool, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=views.TIME_LIMIT)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace').strip()


# ---- raw images ----------------------------------------------------------------------------------------------------

def raw_file(name, length, pieces):
    """Data in @pieces of (offset, length), holes elsewhere."""
    with open(name, 'wb') as f:
        f.truncate(length)
        for offset, size in pieces:
            f.seek(offset)
            f.write(os.urandom(min(size, max(0, length - offset))))


def look_at_raw(name, *options):
    views.both(name, 'info', *options, name)
    views.compare(name, 'info', '--backing-chain', '--output=json', *options, name)
    views.both(name, 'map', *options, name)
    views.both(name, 'map', '-s', '1000', '-l', '70000', *options, name)
    views.compare(name, 'map', '--output=json', '--start-offset=2M', *options, name)
    views.compare(name, 'measure', *options, name)
    views.both(name, 'measure', '-O', 'qcow2', *options, name)
    views.compare(name, 'measure', '-O', 'qcow2', '-o', 'cluster_size=4k,compat=0.10', *options, name)
    views.compare(name, 'check', *options, name)
    views.compare(name, 'snapshot', '-l', name)


def raw_images():
    rng = random.Random(1)
    sizes = [0, 1, 511, 512, 513, 4097, 65536, (1 << 20) + 1, 3000100]
    for i, length in enumerate(sizes[::PART]):
        pieces = [(rng.randrange(0, length + 1) & ~4095, rng.randrange(1, 20000)) for _ in range(rng.randrange(4))]
        raw_file('raw%d' % i, length, pieces)
        look_at_raw('raw%d' % i, *(('-f', 'raw') if i % 2 else ()))
    raw_file('sparse', 1 << 34, [(1 << 33, 4096)])
    look_at_raw('sparse')
    # A guest chooses what its disk begins with: what is told to be raw is raw.
    views.create('inner', size='1M')
    look_at_raw('inner', '-f', 'raw')


def other_formats():
    """Files that QEMU takes for another format are not taken for raw."""
    secret = ['--object', 'secret,id=s,data=x', '-o', 'key-secret=s,iter-time=10']
    for fmt, options in (('vmdk', []), ('vmdk', ['-o', 'subformat=monolithicFlat']), ('vdi', []), ('vpc', []),
                         ('vhdx', []), ('qed', []), ('parallels', []), ('qcow', []), ('luks', secret)):
        views.run('qemu-img', 'create', '-q', '-f', fmt, *options, 'other', '1M')
        code, _, error = run(QCBM, 'info', 'other')
        if code != 1 or "format '%s' is not supported" % fmt not in error:
            faults.append('%s: exit code %d, %s' % (fmt, code, error))
        if run(QCBM, 'check', 'other')[0] != 63:
            faults.append('%s: check' % fmt)
        os.remove('other')


TEXTS = [b'version=1\n', b'version=3\n', b'version=4\n', b'# c\nversion=2\n', b'# c\r\nversion=2\r\n', b'\nversion=1\n',
         b'  \n#c\nversion=3\n', b' \r\nversion=1\n', b'\r\nversion=1\n', b'# c\nx\nversion=1\n', b'# c\nversion=1',
         b'# c' * 200, b'\n' * 600, b' ' * 600, b'QED', b'QED\0', b'KDM', b'KDMV', b'COWD', b'conectix', b'vhdxfil',
         b'LUKS\xba\xbe\0\1', b'LUKS\xba\xbe\0\2', b'WithoutFreeSpace' + b'\2\0\0\0', b'WithoutFreeSpace' + b'\1\0\0\0',
         b'QFI\xfb\0\0\0\0', b'QFI\xfb\0\0\0\1', b'QFI\xfb\0\0\0\2', b'QFI\xfb\xff\0\0\2', b'QFI', b'\0' * 64 +
         b'\x7f\x10\xda\xbe', b'Bochs Virtual HD Image' + b'\0' * 10 + b'Redolog' + b'\0' * 9 + b'Growing' + b'\0' * 9 +
         b'\0\0\2\0', b'Bochs Virtual HD Image']


def probing():
    """Raw for one is raw for the other."""
    for text in TEXTS:
        for name in ('plain', 'x.dmg'):
            with open(name, 'wb') as f:
                f.write(text)
                f.truncate(max(len(text), 2048))
            theirs, ours = ('file format: raw' in run(tool, 'info', name)[1] for tool in ('qemu-img', QCBM))
            if theirs != ours:
                faults.append('%s, %r: raw for qemu-img: %s, for qcbm: %s' % (name, text[:40], theirs, ours))


# ---- every field of the header -------------------------------------------------------------------------------------

FIELDS = [('magic', 0, 4), ('version', 4, 4), ('backing offset', 8, 8), ('backing size', 16, 4), ('cluster bits', 20, 4),
          ('size', 24, 8), ('crypt method', 32, 4), ('L1 entries', 36, 4), ('L1 offset', 40, 8),
          ('refcount table offset', 48, 8), ('refcount table clusters', 56, 4), ('snapshots', 60, 4),
          ('snapshots offset', 64, 8), ('incompatible', 72, 8), ('compatible', 80, 8), ('autoclear', 88, 8),
          ('refcount order', 96, 4), ('header length', 100, 4), ('compression type', 104, 1)]

# Each is told in docs/qemu-differences.md, or is QEMU's fault: field, what qemu-img says, what qcbm says.
DIFFERENT = [
    ('refcount table clusters', 'Image does not contain a reference count table', ''),
    ('snapshots', 'Too much extra metadata in snapshot table', 'warning: '),
    ('size', 'Could not read bitmap', 'warning: '),
    ('size', "Bitmap 'b' doesn't satisfy", 'Image is too big'),
    ('size', 'Could not refresh total sector count: File too large', 'Image is too big'),
    ('autoclear', '', 'data-file-raw requires a data file'),
]
# A job does not fail for what it does not need: bitmaps, a key, the data file. info tells the first.
NOT_NEEDED = ('Could not read bitmap', "Bitmap 'b' doesn't satisfy", "Parameter 'encrypt.key-secret' is required",
              "'data-file' is required", 'Too much extra metadata in snapshot table')


def values(length, now):
    top = (1 << 8 * length) - 1
    chosen = {0, 1, 2, 3, 8, 9, 21, 22, 104, 105, 512, 65537, top, top >> 1,
              (top >> 1) + 1, now + 1, now - 1, now * 2, now ^ (1 << 8 * length - 1)}
    chosen |= {1 << bit for bit in range(6, 8 * length, 14)}
    return sorted(value for value in chosen if 0 <= value <= top and value != now)


def message(error):
    text = re.sub(r"^(qemu-img|qcbm): (Could not open 'image': )?", '', error)
    return re.sub(r"^warning: image: ", 'warning: ', re.sub(r' \(at offset 0x[0-9a-f]+\)$', '', text))


def look_at_header(what, field, command='info -f qcow2'):
    global tried
    tried += 1
    (their_code, _, their_error), (our_code, ours, our_error) = (
        run(tool, *command.split(), 'image') for tool in ('qemu-img', QCBM))
    if their_code < 0:  # QEMU itself died
        their_code, their_error = 1, ''
    theirs, mine = message(their_error.split('\nYou can force-remove')[0]), message(our_error)
    if not command.startswith('info') and their_code == our_code and 'Could not open' not in their_error:
        return  # it opens: what is printed then is compared in views.py
    if any(field == f and theirs.startswith(t) and mine.startswith(m) for f, t, m in DIFFERENT):
        return
    if not command.startswith('info') and our_code in (0, 2) and theirs.startswith(NOT_NEEDED):
        return
    # Not listed as snapshots: zeros, what is past the end. Version 1 is probed as another format.
    if command == 'snapshot -l' and (field == 'version' or their_code == 0 and mine.startswith('snapshot table ')):
        return
    if our_code != their_code or (our_code and (not mine.startswith(theirs) or ours)):
        faults.append('%s, %s: exit code %d, of qemu-img %d\n  %s\n  %s' % (what, command, our_code, their_code,
                                                                         our_error, their_error))


# A header is shown to info, each third of them to one of these, too.
OTHERS = ['map -f qcow2', 'check -f qcow2', 'measure -O qcow2 -f qcow2', 'snapshot -l']


def header_fields():
    counter = 0
    for kind, options in (('v3', ''), ('v2', 'compat=0.10'), ('extended', 'extended_l2=on,compression_type=zstd')):
        views.create('image', size='4M', options=options)
        if kind == 'v3':
            views.run('qemu-img', 'snapshot', '-c', 's', 'image')
            views.run('qemu-img', 'bitmap', '--add', 'image', 'b')
        with open('image', 'rb') as f:
            good = f.read()
        for field, offset, length in FIELDS:
            if kind == 'v2' and offset >= 72:
                continue
            for value in values(length, int.from_bytes(good[offset:offset + length], 'big')):
                counter += 1
                if counter % PART:
                    continue
                views.poke('image', 0, good[:offset] + value.to_bytes(length, 'big') + good[offset + length:4096])
                change = '%s, %s = 0x%x' % (kind, field, value)
                look_at_header(change, field)
                if counter // PART % 3 == 0:
                    look_at_header(change, field, OTHERS[counter // PART // 3 % len(OTHERS)])
        views.poke('image', 0, good[:4096])


def feature_names():
    """All unknown features are named, in the order of the table."""
    views.create('image', size='1M')
    with open('image', 'rb') as f:
        good = f.read()
    start = struct.unpack('>I', good[100:104])[0]
    for table, bits in (([], 1 << 7 | 1 << 40), ([(0, 7, b'seven'), (1, 40, b'no'), (0, 40, b'forty')], 1 << 7 | 1 << 40 | 1 << 63),
                        ([(0, 40, b'forty'), (0, 7, b'seven'), (0, 7, b'again'), (0, 5, b'five')], 1 << 7 | 1 << 40),
                        ([(0, 7, b'seven'), (0, 9, b''), (0, 40, b'forty')], 1 << 7 | 1 << 40 | 1 << 9),
                        ([(0, 7, b'x' * 46), (0, 8, b'y' * 46)], 1 << 7 | 1 << 8)):
        features = b''.join(bytes([kind, bit]) + name.ljust(46, b'\0') for kind, bit, name in table)
        extension = struct.pack('>II', 0x6803f857, len(features)) + features
        extension = extension.ljust(-(-len(extension) // 8) * 8, b'\0').ljust(600, b'\0')
        views.poke('image', start, extension)
        views.poke('image', 72, struct.pack('>Q', bits))
        look_at_header('features %r' % (table,), 'features')


def main():
    code = qtool.run_parts('qcbm-opens.', (raw_images, other_formats, probing, header_fields, feature_names), faults,
                           lambda: '%d outputs compared, %d headers tried, %d differ' % (views.compared, tried, len(faults)))
    return code or views.compared == 0 or tried == 0


if __name__ == '__main__':
    sys.exit(main())
