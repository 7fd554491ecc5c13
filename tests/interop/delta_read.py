# delta_read.py - deltas read in each form, written from docs/delta-format.md and from what Ceph and virtnbdbackup document
#
# SPDX-License-Identifier: MIT
#
# Nothing here uses qcbm's code. Each reader gives a Delta, or raises Failure on bytes that break a rule.

import json
import os
import struct
import sys
import tempfile

from qtool import Failure, require


class Delta:
    """size: of the disk afterwards; before, after: what the states are called; records: (offset, bytes or a length of zeros)."""

    def __init__(self, size, before, after, records):
        self.size, self.before, self.after, self.records = size, before, after, records

    def apply(self, disk):
        """The disk behind it: grown with zeros, written to, cut."""
        out = bytearray(disk.ljust(self.size, b'\0'))
        for offset, what in self.records:
            piece = what if isinstance(what, bytes) else bytes(what)
            out[offset:offset + len(piece)] = piece
        return bytes(out[:self.size])

    def ranges(self):
        return [(o, o + (len(w) if isinstance(w, bytes) else w)) for o, w in self.records]


def check_ranges(delta, what):
    at = 0
    for start, end in delta.ranges():
        require(at <= start < end <= delta.size, '%s: a record %d-%d behind %d, on a disk of %d' % (what, start, end, at, delta.size))
        at = end
    return delta


def read_rbd(path):
    """rbd diff v1, as rbd import-diff and merge-diff want it: f, t, s, then data in order, then e."""
    raw = open(path, 'rb').read()
    require(raw[:12] == b'rbd diff v1\n', 'no banner of rbd diff v1')
    at, size, names, records = 12, None, {}, []
    while raw[at:at + 1] != b'e':
        tag = raw[at:at + 1]
        if tag in b'ft':
            require(size is None and tag not in names, 'rbd: a name out of place')
            length = struct.unpack_from('<I', raw, at + 1)[0]
            names[tag] = raw[at + 5:at + 5 + length].decode()
            at += 5 + length
        elif tag == b's':
            require(size is None, 'rbd: two sizes')
            size = struct.unpack_from('<Q', raw, at + 1)[0]
            at += 9
        elif tag in b'wz' and tag:
            require(size is not None, 'rbd: no size in front of data')
            offset, length = struct.unpack_from('<QQ', raw, at + 1)
            at += 17
            if tag == b'w':
                require(length <= 4 << 20, 'rbd: a record of %d bytes, which import-diff holds in memory' % length)
                require(at + length <= len(raw), 'rbd: cut short')
                records.append((offset, raw[at:at + length]))
                at += length
            else:
                records.append((offset, length))
        else:
            raise Failure('rbd: %r begins no record' % tag)
    require(at + 1 == len(raw), 'rbd: something follows its end')
    return check_ranges(Delta(size, names.get(b'f'), names.get(b't'), records), 'rbd')


def read_vnb(path):
    """virtnbdbackup's stream. Frames of zeros are no records: virtnbdrestore passes over them."""
    raw = open(path, 'rb').read()

    def frame(at):
        line = raw[at:at + 40]
        require(len(line) == 40 and line[38:] == b'\r\n', 'vnb: no frame at %d' % at)
        kind, start, length = line[:38].split(b' ')
        return kind, int(start, 16), int(length, 16), at + 40

    kind, start, length, at = frame(0)
    require((kind, start) == (b'meta', 0), 'vnb: no metadata')
    meta = json.loads(raw[at:at + length])
    require(raw[at + length:at + length + 2] == b'\r\n', 'vnb: metadata without its end')
    require(meta['compressed'] is False and meta['streamVersion'] == 2 and meta['incremental'] is True, 'vnb: metadata')
    at, records, data = at + length + 2, [], 0
    while True:
        kind, start, length, at = frame(at)
        if kind == b'stop':
            break
        require(kind == b'data', 'vnb: a frame %r, which is not restored' % kind)
        require(at + length + 2 <= len(raw) and raw[at + length:at + length + 2] == b'\r\n', 'vnb: a frame without its end')
        records.append((start, raw[at:at + length]))
        data += length
        at += length + 2
    require(at == len(raw), 'vnb: something follows its end')
    require(data == meta['dataSize'], 'vnb: dataSize is %d, and there are %d bytes' % (meta['dataSize'], data))
    return check_ranges(Delta(meta['virtualSize'], meta['parentCheckpoint'], meta['checkpointName'], records), 'vnb')


def read_raw_map(path):
    with open(path + '.map', encoding='ascii') as f:
        rows = [json.loads(line) for line in f]
    require(rows[0]['form'] == 'raw+map' and rows[0]['format'] == 1, 'raw+map: first line')
    require(rows[-1]['records'] == len(rows) - 2 and rows[0]['size'] == os.path.getsize(path), 'raw+map: last line, or size')
    records = []
    with open(path, 'rb') as f:
        for row in rows[1:-1]:
            f.seek(row['offset'])
            records.append((row['offset'], f.read(row['length']) if row['type'] == 'data' else row['length']))
    return check_ranges(Delta(rows[0]['size'], None, None, records), 'raw+map')


READERS = {'rbd-diff': read_rbd, 'vnb': read_vnb, 'raw+map': read_raw_map}
FORMS = ['qcow2', 'raw+map', 'rbd-diff', 'vnb']


def apply_qcow2(work, disk, delta, out):
    """With qemu-img alone: the state before goes below the delta, and what one reads then is the state after."""
    work.run('cp', '--sparse=always', delta, out + '.top')
    work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', disk, out + '.top')
    work.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', out + '.top', out)
    with open(work.path(out), 'rb') as f:
        return f.read()


def apply_delta(work, form, disk, delta):
    """The bytes of the raw file disk, with the delta applied."""
    if form == 'qcow2':
        return apply_qcow2(work, disk, delta, delta + '.applied')
    with open(work.path(disk), 'rb') as f:
        return READERS[form](work.path(delta)).apply(f.read())


def main():
    """delta_read.py FORM DISK DELTA: a raw file becomes what the delta, or standard input for "-", makes of it. DISK.snapshots has the
    names of its states, if there is such a file: the one before must be there, the one after comes to it."""
    form, disk, delta = sys.argv[1:]
    with open('/dev/stdin' if delta == '-' else delta, 'rb') as f:
        raw = f.read()
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(raw)
        copy.flush()
        read = READERS[form](copy.name)
    if os.path.exists(disk + '.snapshots'):
        with open(disk + '.snapshots', 'r+', encoding='utf-8') as f:
            names = f.read().split()
            if read.before not in names or read.after in names:
                sys.exit('from %s to %s: there is %s' % (read.before, read.after, names))
            f.write(read.after + '\n')
    with open(disk, 'r+b') as f:
        f.truncate(max(read.size, os.path.getsize(disk)))
        for offset, what in read.records:
            f.seek(offset)
            f.write(what if isinstance(what, bytes) else bytes(what))
        f.truncate(read.size)


if __name__ == '__main__':
    main()
