#!/usr/bin/env python3
# manifest.py - manifests against what qemu-img reads: after sessions that were killed, no granule is missed and none needless
#
# SPDX-License-Identifier: MIT
#
# Usage: manifest.py [--rounds N] [--full] and what all tests here take; --full makes 500 histories. A history is a random
# disk, a session, a manifest, more sessions of which the last one is killed. Manifests are read here by an independent
# reader, and indexes of Proxmox Backup Server written by an independent writer.
# Environment: QCBM = path of the tool.

import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess

import qtool
from qtool import GiB, KiB, MiB, Qcow2, ranges_clip, ranges_minus, ranges_norm, ranges_outward, ranges_total, require, require_equal
from revive import SIZE, CLUSTERS, content, differing, killed_session, requests

KINDS = {1: 16, 2: 32}


# ---- an independent reader --------------------------------------------------------------------------------------

def read_manifest(path):
    """(fields, granules): a digest for each, or None for zeros."""
    with open(path, 'rb') as f:
        raw = f.read()
    magic, version, length, size, gran, kind, seed, time, ident, text_len = struct.unpack_from('>8sIIQIIQQ16sI', raw)
    require_equal((magic, version), (b'\x89QCBMAN\n', 1), 'head of the manifest')
    require_equal(length, (80 + text_len + 7) // 8 * 8, 'length of the header')
    granules, at, bytes_each = [], length, KINDS[kind]
    while True:
        record, reserved, count = struct.unpack_from('>IIQ', raw, at)
        at += 16
        require_equal(reserved, 0, 'record')
        if record == 0:
            break
        if record == 1:
            granules += [None] * count
        else:
            require_equal(record, 2, 'record')
            granules += [raw[at + k * bytes_each:at + (k + 1) * bytes_each] for k in range(count)]
            at += count * bytes_each
    require_equal((len(granules), at + 16), (-(-size // (1 << gran)), len(raw)), 'granules and end')
    return {'size': size, 'granularity': 1 << gran, 'kind': kind, 'text': raw[80:80 + text_len]}, granules


def expected_granules(data, granularity):
    out = []
    for at in range(0, len(data), granularity):
        piece = data[at:at + granularity]
        out.append(None if piece.count(0) == len(piece) else hashlib.sha256(piece).digest())
    return out


def require_describes(work, manifest, data, granularity):
    fields, granules = read_manifest(work.path(manifest))
    require_equal((fields['size'], fields['granularity']), (len(data), granularity), 'size and granularity')
    expected = expected_granules(data, granularity)
    require_equal([g is None for g in granules], [e is None for e in expected], 'granules of zeros')
    if fields['kind'] == 2:
        require_equal(granules, expected, 'digests')


# ---- an independent writer of indexes ---------------------------------------------------------------------------

def write_index(path, data, chunk=4 * MiB, key=b''):
    """What proxmox-backup-client leaves of a disk; with a key, digests as an encrypted backup has them."""
    digests = [hashlib.sha256(data[at:at + chunk] + key).digest() for at in range(0, len(data), chunk)]
    head = bytes.fromhex('2f7f41ed91fd0fcd') + bytes(range(16)) + struct.pack('<q', 1700000000)
    head += hashlib.sha256(b''.join(digests)).digest() + struct.pack('<QQ', len(data), chunk)
    with open(path, 'wb') as f:
        f.write(head.ljust(4096, b'\0') + b''.join(digests))


# ---- sessions that are killed -----------------------------------------------------------------------------------

def bits(work, image, name):
    return Qcow2(work.path(image)).bitmap_dirty(Qcow2(work.path(image)).bitmap(name))


def make_disk(work, rng):
    options, kind = 'cluster_size=%d' % rng.choice(CLUSTERS), rng.choice(('alone', 'backing', 'raw'))
    if kind == 'raw':
        options += ',data_file=a.raw,data_file_raw=on'
    elif rng.random() < 0.5:
        options += ',lazy_refcounts=on'
    if kind == 'backing':
        work.create('base.qcow2', SIZE)
        work.io('base.qcow2', *requests(rng, 10))
    work.create('a.qcow2', SIZE, options=options, backing='base.qcow2' if kind == 'backing' else None)
    work.io('a.qcow2', *requests(rng, 10))
    return kind


def verified(work, manifest, image, *options):
    """Ranges that differ, by --verify."""
    done = work.qcbm('manifest', '--verify', manifest, '--output=json', *options, image, rc=(0, 2))
    told = json.loads(done.out)
    require_equal((told['complete'], told['equal'], done.code), (True, done.code == 0, 0 if told['equal'] else 2), 'verify')
    return ranges_norm((r['offset'], r['offset'] + r['length']) for r in told['ranges'])


def judge(work, rng, before, raw, g, mg):
    """The image was killed; before is what the manifest is of."""
    after = content(work, 'a.qcow2')
    changed = differing(before, after)
    exact = ranges_outward(changed, mg, SIZE)
    require_equal(verified(work, 'm', 'a.qcow2'), exact, 'verify')
    shutil.copy(work.path('a.qcow2'), work.path('copy.qcow2'))
    work.qcbm('synth', '--against', 'm', '-g', g, 'a.qcow2', 'fresh')
    require_equal(bits(work, 'a.qcow2', 'fresh'), ranges_outward(exact, g, SIZE), 'synth --against')
    if Qcow2(work.path('a.qcow2')).bitmap('b0').in_use:
        b0 = Qcow2(work.path('a.qcow2')).bitmap('b0').granularity
        work.qcbm('bitmap', '--revive', '--against', 'm', 'a.qcow2', 'b0')
        require_equal(bits(work, 'a.qcow2', 'b0'), ranges_outward(exact, b0, SIZE), 'revive --against')
        if not raw and rng.random() < 0.3:  # a superset, and of that the exact part
            work.qcbm('bitmap', '--revive', 'copy.qcow2', 'b0')
            superset = bits(work, 'copy.qcow2', 'b0')
            work.qcbm('synth', '--against', 'm', '--within', 'b0', '-g', g, 'copy.qcow2', 'within')
            within = bits(work, 'copy.qcow2', 'within')
            require_equal(ranges_minus(changed, within, SIZE), [], 'missed within')
            require_equal(ranges_minus(within, ranges_outward(exact, g, SIZE), SIZE), [], 'needless within')
            require_equal(ranges_minus(within, ranges_outward(superset, g, SIZE), SIZE), [], 'outside of the bitmap within')
    with work.serve('a.qcow2', bitmaps=['fresh']) as served:
        require_equal(served.dirty('fresh'), ranges_outward(exact, g, SIZE), 'served')
    return after, changed, exact


def bring_up_to_date(work, kind, after, mg):
    """--update by the bitmap that was made equals a new manifest; of XXH3, which has another seed, in what it says."""
    shutil.copy(work.path('m'), work.path('old'))
    work.qcbm('manifest', '--update', 'm', '--bitmap', 'fresh', '--text', 'x', 'a.qcow2')
    work.qcbm('manifest', '-o', 'new', '-g', mg, '--digest', kind, '--text', 'x', 'a.qcow2')
    one, two = (qtool.peek(work.path(name), 0, 1 << 24) for name in ('m', 'new'))
    if kind == 'sha256':
        one, two = (b[:40] + bytes(8) + b[48:-16] for b in (one, two))  # the time
        require_equal(one, two, 'brought up to date, and new')
    require_describes(work, 'm', after, mg)
    require_equal(verified(work, 'm', 'a.qcow2'), [], 'verify')


def one_history(work, rng, figures):
    disk = make_disk(work, rng)
    kind, mg, g = rng.choice(('xxh3', 'sha256')), rng.choice((512, 4096, 65536)), rng.choice((512, 4096, 65536))
    before = content(work, 'a.qcow2')
    work.qcbm('manifest', '-o', 'm', '-g', mg, '--digest', kind, 'a.qcow2')
    require_describes(work, 'm', before, mg)
    work.run('qemu-img', 'bitmap', '--add', '-g', rng.choice((512, 4096, 65536)), 'a.qcow2', 'b0')
    work.io('a.qcow2', *requests(rng, 5))
    killed_session(work, rng)
    if Qcow2(work.path('a.qcow2')).incompatible & 1:  # of lazy refcounts; QEMU repairs these when it is opened
        work.io('a.qcow2', 'read -q 0 512')
    after, changed, exact = judge(work, rng, before, disk == 'raw', g, mg)
    if rng.random() < 0.5:
        bring_up_to_date(work, kind, after, mg)
    figures.append((ranges_total(changed), ranges_total(exact)))


def killed(work, seed, rounds):
    rng, figures = random.Random(seed), []
    for _ in range(rounds):
        one_history(work, rng, figures)
        for name in os.listdir(work.dir):
            os.unlink(work.path(name))
    print('# %d histories, %d bytes differ, %d in granules of the manifest' %
          (len(figures), sum(f[0] for f in figures), sum(f[1] for f in figures)), flush=True)


# ---- images of other kinds --------------------------------------------------------------------------------------

def case_same_disk(work):
    """One disk in many forms has one manifest."""
    rng = random.Random(7)
    work.create('a.qcow2', 3 * MiB + 512, options='cluster_size=4k')
    work.io('a.qcow2', 'write -q -P 1 0 1M', 'write -q -P 2 3M 512', 'write -q -z 200k 100k')
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'a.raw')
    for _ in range(20):
        at = rng.randrange(3 * MiB // 512) * 512
        work.run('qemu-io', '-f', 'raw', '-c', 'write -q -P %d %d 4k' % (rng.randrange(3), at // 4096 * 4096), 'a.raw')
    forms = {'raw': ['-O', 'raw'], 'plain': ['-O', 'qcow2'], 'packed': ['-c', '-O', 'qcow2', '-o', 'cluster_size=2M'],
             'wide': ['-O', 'qcow2', '-o', 'cluster_size=64k,extended_l2=on'], 'old': ['-O', 'qcow2', '-o', 'compat=0.10']}
    data = qtool.peek(work.path('a.raw'), 0, 4 * MiB)
    for granularity in 512, 64 * KiB, 4 * MiB:
        seen = set()
        for name, options in forms.items():
            work.run('qemu-img', 'convert', '-f', 'raw', *options, 'a.raw', name)
            work.qcbm('manifest', '--digest=sha256', '-o', 'm', '--force', '-g', granularity, '--threads',
                      rng.choice((1, 3, 16)), name)
            require_describes(work, 'm', data, granularity)
            raw = qtool.peek(work.path('m'), 0, 1 << 24)
            seen.add(raw[:40] + raw[48:-16])
            require_equal(verified(work, 'm', 'a.raw'), [], 'verify')
        require_equal(len(seen), 1, 'manifests')
    done = work.run(qtool.QCBM, 'manifest', '--digest=sha256', '-g', '4M', 'a.raw')  # to standard output
    require_equal(done.raw_out[:40] + done.raw_out[48:-16], raw[:40] + raw[48:-16], 'through a pipe')


def case_size(work):
    """Digests take 0.03 % of the data, and zeros nothing."""
    work.create('a.qcow2', 1 << 40)
    work.io('a.qcow2', 'write -q -P 1 100G 64M', 'write -q -z 900G 1G', 'write -q -P 2 500G 64M')
    told = json.loads(work.qcbm('manifest', '-o', 'm', '--output=json', 'a.qcow2').out)
    require(told['file-size'] == os.path.getsize(work.path('m')), 'the size that is told')
    require(told['file-size'] <= 128 * MiB * 3 // 10000, '%d bytes for 128 MiB' % told['file-size'])
    require_equal((told['granules'], told['zero-granules']), (1 << 24, (1 << 24) - 2048), 'granules')
    info = json.loads(work.qcbm('manifest', '--info', 'm', '--output=json').out)
    require_equal({k: info[k] for k in told if k in info}, {k: told[k] for k in told if k in info}, 'info')


def case_sparse_data_file(work):
    """Holes of a raw data file are not read, though its entries map all of the disk."""
    work.create('a.qcow2', '16G', options='cluster_size=2M,data_file=a.raw,data_file_raw=on')
    work.io('a.qcow2', 'write -q -P 1 5G 3M', 'write -q -P 2 15G 100k')
    argv = ['strace', '-f', '-o', 'trace', '-e', 'trace=pread64', qtool.QCBM, 'manifest', '-q', '--no-sandbox', '-o', 'm', 'a.qcow2']
    subprocess.run(argv, cwd=work.dir, env=qtool.strace_environment(), check=True, stdin=subprocess.DEVNULL)
    with open(work.path('trace')) as f:
        read = sum(int(line.rsplit('= ', 1)[1].split()[0]) for line in f if re.search(r'= \d+$', line))
    require(read < 16 * MiB, '%d bytes were read of 3.1 MiB' % read)
    fields, granules = read_manifest(work.path('m'))
    data = [n * 65536 for n, g in enumerate(granules) if g]
    require_equal(data, [5 * GiB + n * 65536 for n in range(48)] + [15 * GiB, 15 * GiB + 65536], 'granules with data')
    require_equal(verified(work, 'm', 'a.raw', '-f', 'raw'), [], 'verify')


# ---- Proxmox Backup Server --------------------------------------------------------------------------------------

def backup_disk(work, size):
    work.create('a.qcow2', size)
    work.io('a.qcow2', 'write -q -P 1 0 9M', 'write -q -P 2 24M 1M', 'write -q -P 3 %d 512' % (size - 512))
    return content(work, 'a.qcow2')


def chunks(pieces, size):
    return ranges_outward(pieces, 4 * MiB, size)


def case_index(work):
    size = 50 * MiB + 512  # a short tail, and chunks of zeros
    before = backup_disk(work, size)
    write_index(work.path('x.fidx'), before)
    require_equal(verified(work, 'x.fidx', 'a.qcow2'), [], 'verify')
    told = json.loads(work.qcbm('synth', '--against', 'x.fidx', '--output=json', 'a.qcow2', 'none').out)
    require_equal((told['dirty-bytes'], told['against']['equal-bytes']), (0, size), 'nothing has changed')
    work.io('a.qcow2', 'write -q -P 9 5M 512', 'write -q -P 9 %d 512' % (size - 512), 'write -q -z 24M 1M', 'write -q -P 1 40M 1')
    exact = chunks(differing(before, content(work, 'a.qcow2')), size)
    require_equal(verified(work, 'x.fidx', 'a.qcow2'), exact, 'verify')
    work.qcbm('synth', '--against', 'x.fidx', 'a.qcow2', 'b')
    require_equal(bits(work, 'a.qcow2', 'b'), exact, 'bits')
    info = json.loads(work.qcbm('manifest', '--info', 'x.fidx', '--output=json').out)
    require_equal((info['format'], info['virtual-size'], info['granularity'], info['time'], info['image-id']),
                  ('fidx', size, 4 * MiB, 1700000000, '00010203-0405-0607-0809-0a0b0c0d0e0f'), 'info')
    # it has grown
    work.run('qemu-img', 'resize', '-q', 'a.qcow2', 60 * MiB)
    told = json.loads(work.qcbm('synth', '--against', 'x.fidx', '--output=json', 'a.qcow2', 'grown').out)
    require_equal(bits(work, 'a.qcow2', 'grown'), ranges_outward(ranges_norm(exact + [(size, 60 * MiB)]), 64 * KiB, 60 * MiB), 'grown')
    require(any('has grown by' in note for note in told['notes']), 'notes: %r' % told['notes'])


def case_raw_index(work):
    """Of a raw file of odd length, which QEMU rounds up."""
    data = random.Random(3).randbytes(9 * MiB) + b'tail'
    with open(work.path('a.raw'), 'wb') as f:
        f.write(data)
    write_index(work.path('x.fidx'), data, 64 * KiB)
    require_equal(verified(work, 'x.fidx', 'a.raw', '-f', 'raw'), [], 'verify')
    qtool.patch(work.path('a.raw'), len(data) - 1, b'x')
    require_equal(verified(work, 'x.fidx', 'a.raw', '-f', 'raw'), [(9 * MiB, len(data))], 'the tail')
    # it has grown within its last sector, of which the index counts the rest as zeros
    for more, found in ((bytes(100), []), (bytes(99) + b'x', [(len(data), 9 * MiB + 512)]), (bytes(508), [])):
        with open(work.path('a.raw'), 'wb') as f:
            f.write(data + more)
        require_equal(verified(work, 'x.fidx', 'a.raw', '-f', 'raw'), found, 'grown by %d bytes' % len(more))


def case_doubtful(work):
    """An entry that breaks a rule is not the word of the disk: it has no digest, and what is compared is dirty."""
    work.create('a.qcow2', 4 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 2M')
    work.qcbm('manifest', '-o', 'm', 'a.qcow2')
    image = Qcow2(work.path('a.qcow2'))
    table = image.words(image.l1_offset, 1)[0] & ~(1 << 63)
    entry = image.words(table + 8, 1)[0]
    qtool.patch(work.path('a.qcow2'), table + 8, (entry | 2).to_bytes(8, 'big'))
    work.qcbm_refused('manifest', '-o', 'n', 'a.qcow2', says=['guest 0x10000', 'breaks a rule'], unchanged=['a.qcow2'])
    told = json.loads(work.qcbm('synth', '--dry-run', '--against', 'm', '--output=json', 'a.qcow2', 'b', rc=1).out)
    require_equal(told['dirty-bytes'], 64 * KiB, 'dirty')
    require(any('breaks a rule' in note for note in told['notes']), 'notes: %r' % told['notes'])


def case_index_within(work):
    """Of a bitmap all granules may have changed: that says nothing of the index."""
    work.create('a.qcow2', 64 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 64M')
    write_index(work.path('x.fidx'), content(work, 'a.qcow2'))
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'c')
    work.io('a.qcow2', 'write -q -P 2 0 40M')
    work.qcbm('synth', '--against', 'x.fidx', '--within', 'c', 'a.qcow2', 'b')
    require_equal(bits(work, 'a.qcow2', 'b'), [(0, 40 * MiB)], 'within')
    work.qcbm('delta', '--bitmap', 'c', '--refine', '--refine-against', 'x.fidx', 'a.qcow2', 'd')
    # and one that is frozen lacks what comes behind it
    work.run('qemu-img', 'bitmap', '--disable', 'a.qcow2', 'c')
    said = "bitmap 'c' is disabled: what was written since"
    told = json.loads(work.qcbm('synth', '--against', 'x.fidx', '--within', 'c', '--output=json', 'a.qcow2',
                                'frozen').out)
    require(any(said in note for note in told['notes']), 'notes: %r' % told['notes'])
    told = json.loads(work.qcbm('delta', '--bitmap', 'c', '--output=json', 'a.qcow2', 'frozen.d').out)
    require(any(said in note for note in told['notes']), 'notes of a delta: %r' % told['notes'])
    work.qcbm('manifest', '-o', 'm', 'a.qcow2')
    require(said in work.qcbm('manifest', '--update', 'm', '--bitmap', 'c', 'a.qcow2').err, 'manifest --update')
    work.run('qemu-img', 'bitmap', '--enable', 'a.qcow2', 'c')
    told = json.loads(work.qcbm('delta', '--bitmap', 'c', '--output=json', 'a.qcow2', 'd2').out)
    require_equal(told['notes'], [], 'enabled')
    require_equal(work.qcbm('manifest', '--update', 'm', '--bitmap', 'c', 'a.qcow2').err, '', 'enabled')


# ---- refusals ---------------------------------------------------------------------------------------------------

def refused(work, manifest, *says):
    for argv in (['manifest', '--verify', manifest, 'a.qcow2'], ['synth', '--against', manifest, 'a.qcow2', 'n']):
        work.qcbm_refused(*argv, says=says, file=manifest, unchanged=['a.qcow2'])


def case_refused(work):
    size = 50 * MiB + 512
    data = backup_disk(work, size)
    write_index(work.path('x.fidx'), data)
    write_index(work.path('keyed.fidx'), data, key=b'id of the key')
    work.qcbm_refused('synth', '--against', 'keyed.fidx', 'a.qcow2', 'n', says=['none of 13 chunks', 'encrypted'],
                      unchanged=['a.qcow2'])
    work.qcbm('manifest', '--verify', 'keyed.fidx', 'a.qcow2', rc=1)
    work.qcbm('synth', '--against', 'keyed.fidx', '--force', 'a.qcow2', 'all')
    require_equal(bits(work, 'a.qcow2', 'all'), [(0, size)], 'forced')
    work.qcbm('manifest', '-o', 'm', 'a.qcow2')
    for name in 'm', 'x.fidx':
        raw = qtool.peek(work.path(name), 0, 1 << 24)
        for at, what in ((len(raw) - 1, 'cut'), (len(raw) - 40, 'cut'), (300 if name == 'm' else 4100, 'damaged')):
            with open(work.path('bad'), 'wb') as f:
                f.write(raw[:at] if what == 'cut' else raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
            refused(work, 'bad')
            work.qcbm_refused('manifest', '--info', 'bad', file='bad')
    for content_of_it in b'', b'x' * 5000, raw[:8], b'\x89QCBMAN\n':
        with open(work.path('bad'), 'wb') as f:
            f.write(content_of_it)
        refused(work, 'bad')
    refused(work, 'missing', 'No such file')
    work.create('small.qcow2', 8 * MiB)
    for name in 'm', 'x.fidx':
        work.qcbm_refused('synth', '--against', name, 'small.qcow2', 'n', says=['another disk, or was cut'],
                          unchanged=['small.qcow2'])
        require_equal(verified(work, name, 'small.qcow2')[-1][1], size, 'verify')
    # another kind than is there
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'c')
    before = qtool.digest(work.path('m'))
    for options in (['--digest=sha256'], ['-g', '4k']):
        work.qcbm_refused('manifest', '--update', 'm', '--bitmap', 'c', *options, 'a.qcow2', says=['the manifest has'])
    work.qcbm_refused('manifest', '--update', 'x.fidx', '--bitmap', 'c', 'a.qcow2', says=['Proxmox'], unchanged=['x.fidx'])
    work.qcbm_refused('manifest', '--update', 'm', '--bitmap', 'missing', 'a.qcow2', says=['missing'])
    require_equal(qtool.digest(work.path('m')), before, 'the manifest')
    # what is there is not replaced, and disks never
    work.qcbm_refused('manifest', '-o', 'm', 'a.qcow2', says=['--force'], unchanged=['m'])
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'a.raw')
    for argv in (['-o', 'a.raw', '--force', 'a.raw'], ['-o', 'a.qcow2', '--force', 'a.raw']):
        work.qcbm_refused('manifest', *argv, unchanged=['a.raw', 'a.qcow2'])
    require_equal(sorted(n for n in os.listdir(work.dir) if '.' in n and n.split('.')[-1] not in ('qcow2', 'raw', 'fidx')), [],
                  'files that are left')


# ---- a bitmap beside a copy ---------------------------------------------------------------------------------------

def one_copy(work, rng):
    """A copy that is the disk is taken; one that differs where the bitmap is dirty never is."""
    granularity, digest = rng.choice((512, 4096, 64 * KiB, 4 * MiB)), rng.choice(('xxh3', 'sha256'))
    work.create('a.qcow2', SIZE, options='cluster_size=%d' % rng.choice(CLUSTERS))
    work.io('a.qcow2', *requests(rng, 6))
    work.run('qemu-img', 'bitmap', '--add', '-g', rng.choice((512, 4096, 64 * KiB)), 'a.qcow2', 'b')
    work.io('a.qcow2', *requests(rng, 6))
    work.qcbm('bitmap', '--export', 'b', 'a.qcow2', 'b')
    work.qcbm('manifest', '-o', 'm', '-g', granularity, '--digest', digest, 'a.qcow2')
    work.run('qemu-img', 'convert', '-O', 'qcow2', '-o', 'cluster_size=%d' % rng.choice(CLUSTERS), 'a.qcow2', 'copy.qcow2')
    shutil.copy(work.path('copy.qcow2'), work.path('sound.qcow2'))
    told = json.loads(work.qcbm('bitmap', '--import', 'b', '--check', 'm', '--output=json', 'sound.qcow2', 'b').out)
    dirty = bits(work, 'a.qcow2', 'b')
    require_equal(bits(work, 'sound.qcow2', 'b'), dirty, 'the bitmap')
    told = told['results'][0]
    require_equal(told['compared-bytes'] - told['drawn-bytes'], ranges_total(ranges_outward(dirty, granularity, SIZE)), 'compared')
    start, end = rng.choice(dirty)
    at = rng.randrange(start // 512, -(-end // 512)) * 512
    work.io('copy.qcow2', 'write -q -P 0x%x %d 512' % (rng.randrange(0x81, 0xff), at))
    changed = differing(content(work, 'a.qcow2'), content(work, 'copy.qcow2'))
    if changed:
        first, n = changed[0][0] // granularity * granularity, ranges_total(ranges_outward(changed, granularity, SIZE))
        work.qcbm_refused('bitmap', '--import', 'b', '--check', 'm', '--force', 'copy.qcow2', 'b', file='m',
                          says=['first difference is at %d .[0-9]* bytes., and %d of ' % (first, n)], unchanged=['copy.qcow2'])


def case_copy(work):
    rng = random.Random(13)
    for _ in range(6):
        one_copy(work, rng)
        for name in os.listdir(work.dir):
            os.unlink(work.path(name))


def case_copy_sample(work):
    """Of what is clean, a copy that lacks a part, other disks, and the size of the sample."""
    work.create('a.qcow2', 256 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 160M')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b')
    work.io('a.qcow2', 'write -q -P 2 1M 100k')
    work.qcbm('bitmap', '--export', 'b', 'a.qcow2', 'b')
    work.run('qemu-img', 'convert', '-O', 'qcow2', 'a.qcow2', 'good.qcow2')
    for granularity, data, zeros in ((4 * MiB, 16, 2), (64 * KiB, 1024, 128), (512, 1024, 128)):
        work.qcbm('manifest', '-o', 'm', '--force', '-g', granularity, 'a.qcow2')
        told = json.loads(work.qcbm('bitmap', '--import', 'b', '--check', 'm', '--dry-run', '--output=json', 'good.qcow2', 'b').out)
        drawn = told['results'][0]['drawn-bytes'] // granularity
        require((data + zeros) * 6 // 10 <= drawn <= data + zeros, '%d granules were drawn of %d' % (drawn, granularity))
    work.qcbm('manifest', '-o', 'm', '--force', 'a.qcow2')
    for hole in 'write -q -z 100M 60M', 'write -q -P 7 170M 80M':
        shutil.copy(work.path('good.qcow2'), work.path('copy.qcow2'))
        work.io('copy.qcow2', hole)
        work.qcbm_refused('bitmap', '--import', 'b', '--check', 'm', 'copy.qcow2', 'b', says=['first difference'], file='m',
                          unchanged=['copy.qcow2'])
    # of another size, by a list, which does not say it; all layers are read; what cannot be read differs
    with open(work.path('list'), 'w') as f:
        f.write(work.qcbm('extents', '--output=json', 'a.qcow2', 'b').out)
    work.create('top.qcow2', 256 * MiB, backing='good.qcow2')
    work.qcbm('bitmap', '--import', 'list', '--format=json', '--check', 'm', 'top.qcow2', 'b')
    work.run('qemu-img', 'resize', '-q', 'a.qcow2', '257M')
    work.qcbm('manifest', '-o', 'larger', 'a.qcow2')
    work.qcbm_refused('bitmap', '--import', 'b', '--check', 'larger', 'good.qcow2', 'b', says=['269484032 bytes'], file='larger',
                      unchanged=['good.qcow2'])
    os.unlink(work.path('good.qcow2'))
    work.qcbm_refused('bitmap', '--import', 'b', '--check', 'm', 'top.qcow2', 'c', says=['good.qcow2'], unchanged=['top.qcow2'])
    work.qcbm_refused('bitmap', '--import', 'b', '--check', 'missing', 'top.qcow2', 'c', says=['missing'], file='missing',
                      unchanged=['top.qcow2'])


def case_refine(work):
    """A manifest of the base is as good a reference as the base: also of larger granules, which touch more."""
    work.create('base.qcow2', 8 * MiB)
    work.io('base.qcow2', 'write -q -P 1 0 4M')
    work.create('top.qcow2', 8 * MiB, backing='base.qcow2')
    work.io('top.qcow2', 'write -q -P 1 1M 200k', 'write -q -P 2 2M 64k', 'write -q -P 1 2112k 64k', 'discard -q 6M 1M', 'write -q -z 3M 64k')
    work.qcbm('synth', '--refine', 'top.qcow2', 'base')
    expected = [(2 * MiB, 2 * MiB + 64 * KiB), (3 * MiB, 3 * MiB + 64 * KiB)]
    require_equal(bits(work, 'top.qcow2', 'base'), expected, 'refined against the base')
    for granularity, dirty in ((512, expected), (64 * KiB, expected),
                               (MiB, [(2 * MiB, 2 * MiB + 128 * KiB), (3 * MiB, 3 * MiB + 64 * KiB)])):
        work.qcbm('manifest', '-o', 'm', '--force', '-g', granularity, 'base.qcow2')
        told = json.loads(work.qcbm('synth', '--refine-against', 'm', '--replace', '--output=json', 'top.qcow2', 'by').out)
        require_equal(bits(work, 'top.qcow2', 'by'), dirty, 'refined against a manifest of %d' % granularity)
        require_equal(told['refine']['against'], 'm', 'JSON')
    work.qcbm_refused('synth', '--refine=zero', '--refine-against', 'm', 'top.qcow2', 'n', says=['of content'], unchanged=['top.qcow2'])


def case_luks(work):
    work.create('a.qcow2', 4 * MiB, luks=True)
    work.create('b.qcow2', 4 * MiB)
    work.qcbm('manifest', '-o', 'm', 'b.qcow2')
    work.qcbm_refused('manifest', '-o', 'n', 'a.qcow2', says=['encrypted'])
    refused(work, 'm', 'encrypted')


def case_unreadable(work):
    """No manifest of half a disk; what cannot be read differs, and is dirty."""
    work.create('a.qcow2', 8 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 8M')
    work.qcbm('manifest', '-o', 'm', 'a.qcow2')
    image = Qcow2(work.path('a.qcow2'))
    qtool.patch(work.path('a.qcow2'), image.l2_place(MiB), struct.pack('>Q', 1 << 63 | 0x10200))
    work.qcbm_refused('manifest', '-o', 'n', 'a.qcow2', says=['guest 0x100000'])
    require(not os.path.exists(work.path('n')), 'half a manifest')
    done = json.loads(work.qcbm('manifest', '--verify', 'm', '--output=json', 'a.qcow2', rc=2).out)
    require_equal(done['ranges'], [{'offset': MiB, 'length': 64 * KiB, 'unreadable': True}], 'verify')
    work.create('to.qcow2', 8 * MiB)  # nothing is written into a damaged image
    told = json.loads(work.qcbm('synth', '--against', 'm', '--into', 'to.qcow2', '--output=json', 'a.qcow2', 'n').out)
    require_equal(bits(work, 'to.qcow2', 'n'), [(MiB, MiB + 64 * KiB)], 'bits')
    require_equal((told['dirty-bytes'], told['against']['unreadable-bytes']), (64 * KiB, 64 * KiB), 'synth')
    require(any('could not be read' in note for note in told['notes']), 'notes: %r' % told['notes'])


# ---- --update, cut off ------------------------------------------------------------------------------------------

CALLS = 'write,fsync,rename,link,unlink,fchmod'


def inject(work, what, call, n):
    argv = ['strace', '-f', '-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:%s:when=%d' % (call, what, n),
            qtool.QCBM, 'manifest', '-q', '--no-sandbox', '--update', 'm', '--bitmap', 'c', 'a.qcow2']
    work.note(' '.join(argv))
    return subprocess.run(argv, cwd=work.dir, env=qtool.strace_environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=qtool.COMMAND_TIMEOUT)


def case_cut_off(work):
    """Killed, or failing, at each call that changes files: the manifest is the old one or the new one."""
    work.create('a.qcow2', 64 * MiB)
    work.io('a.qcow2', 'write -q -P 1 0 32M')
    work.qcbm('manifest', '-o', 'old', '-g', '4k', '--digest=sha256', 'a.qcow2')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'c')
    work.io('a.qcow2', 'write -q -P 2 16M 8M', 'write -q -P 2 40M 1M')
    shutil.copy(work.path('old'), work.path('m'))
    shutil.copy(work.path('old'), work.path('new'))
    trace = ['strace', '-f', '-o', 'trace', '-e', 'trace=' + CALLS, qtool.QCBM, 'manifest', '-q', '--no-sandbox', '--update',
             'new', '--bitmap', 'c', 'a.qcow2']
    subprocess.run(trace, cwd=work.dir, env=qtool.strace_environment(), check=True, stdin=subprocess.DEVNULL)
    with open(work.path('trace')) as f:
        calls = [line.split('(')[0].split()[-1] for line in f if '(' in line and 'resumed' not in line]
    order = [c for c in calls if c in ('fsync', 'rename')]
    require_equal(order, ['fsync', 'rename', 'fsync'], 'durable before it has the name, and then the name')
    states = {bytes(40) + b[48:-16]: name for name, b in
              ((n, qtool.peek(work.path(n), 0, 1 << 24)) for n in ('old', 'new'))}
    seen = set()
    for what in 'signal=KILL', 'error=EIO':
        for call in sorted(set(calls)):
            for n in range(1, calls.count(call) + 1):
                shutil.copy(work.path('old'), work.path('m'))
                done = inject(work, what, call, n)
                now = qtool.peek(work.path('m'), 0, 1 << 24)
                state = states.get(bytes(40) + now[48:-16])
                require(state, '%s %d, %s: neither old nor new' % (call, n, what))
                seen.add((what, state))
                require(done.returncode != 0 or state == 'new', '%s %d, %s: done, and old' % (call, n, what))
                work.qcbm('manifest', '--info', 'm')
                for name in os.listdir(work.dir):
                    if name.startswith('m.'):
                        require('KILL' in what, 'a failure left %s' % name)
                        os.unlink(work.path(name))
    require(('signal=KILL', 'old') in seen and ('signal=KILL', 'new') in seen, 'states: %r' % seen)


def cases(args):
    rounds = 500 if args.full else args.rounds
    parts = 10 if args.full else 3
    out = [(killed, 'killed sessions, part %d' % k, {'seed': args.seed + k, 'rounds': rounds // parts}) for k in range(parts)]
    return out + [(case_refused, 'refused', {}), (case_cut_off, 'cut off', {}), (case_index, 'index', {}),
                  (case_same_disk, 'one disk in many forms', {}), (case_raw_index, 'index of a raw file', {}),
                  (case_doubtful, 'doubtful entry', {}),
                  (case_index_within, 'index within a bitmap', {}),
                  (case_unreadable, 'unreadable', {}), (case_size, 'size', {}),
                  (case_sparse_data_file, 'sparse data file', {}), (case_luks, 'luks', {}), (case_refine, 'refine', {}),
                  (case_copy, 'copy', {}), (case_copy_sample, 'sample of a copy', {})]


def main():
    args = qtool.arguments('manifests', rounds=9)
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon', 'nbdinfo', 'strace')
    qtool.run_cases(args, cases(args))


if __name__ == '__main__':
    main()
