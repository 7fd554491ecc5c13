#!/usr/bin/env python3
# attach.py - metadata images of raw disks: made, verified and reset by "qcbm attach", against QEMU's own programs
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. --random N: so many random disks. --loop: some of them on loop devices, for which
# losetup must work; the name of such a case ends in -loop.

import json
import os
import random
import re
import shutil
import subprocess
import sys

import qtool
from qtool import KiB, MiB, GiB, TiB, Qcow2, patch, require, require_equal

OFFSET_MASK = 0x00fffffffffffe00
COPIED = 1 << 63
CALLS = ('pwrite64', 'fdatasync', 'link', 'fsync')  # that change what is there; ftruncate is not among them


class Raw:
    """A raw disk of which nothing may change: its bytes, its times."""

    def __init__(self, path):
        self.path = path
        self.before = self.state()

    def state(self):
        st = os.stat(self.path)
        return qtool.digest(self.path), st.st_mtime_ns, st.st_ctime_ns, st.st_size

    def require_kept(self, what):
        require_equal(self.state(), self.before, what + ': the raw disk')


def make_raw(work, rng, size, name='disk.raw'):
    """Data with holes in it."""
    with open(work.path(name), 'wb') as f:
        f.truncate(size)
        for _ in range(6):
            at = rng.randrange(size)
            f.seek(at)
            f.write(rng.randbytes(min(rng.choice((512, 5000, 70000, 300000)), size - at)))
    return work.path(name)


def attach(work, *options, raw='disk.raw', image='meta.qcow2', rc=0):
    return json.loads(work.qcbm('attach', '--output=json', '--data', raw, *options, image, rc=rc).out)


def verify(work, *options, image='meta.qcow2'):
    """The codes that are found, each with its ranges; the exit code says the same, and the text has the same lines."""
    done = work.qcbm('attach', '--verify', '--output=json', *options, image, rc=(0, 2))
    answer = json.loads(done.out)
    found = {}
    for f in answer['findings']:
        found.setdefault(f['code'], []).extend([(f['offset'], f['offset'] + f['length'])] if 'offset' in f else [])
    faults = [f for f in answer['findings'] if f['severity'] == 'fault']
    require_equal((answer['faults'], answer['warnings']), (len(faults), len(answer['findings']) - len(faults)), 'totals')
    require_equal(done.code, 2 if faults else 0, 'exit code')
    text = work.qcbm('attach', '--verify', *options, image, rc=done.code).out
    require_equal(re.findall(r'(?m)^(?:FAULT|Warning) \[([a-z-]+)\]', text), [f['code'] for f in answer['findings']],
                  'lines')
    require_equal(work.qcbm('attach', '--verify', '-q', *options, image, rc=done.code).out, '', '-q')
    return found, answer


def require_found(work, wanted, *options, image='meta.qcow2'):
    found, answer = verify(work, *options, image=image)
    require_equal(found, wanted, 'findings')
    return answer


def require_same_disk(work, image='meta.qcow2', raw='disk.raw'):
    work.check(image)
    work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', image, raw)


def entries_of(path):
    """All L2 entries up to the end of the disk, with their subclusters, and those behind it."""
    image = Qcow2(path)
    width = 16 if image.extended_l2 else 8
    per_table, clusters, out = image.cluster_size // width, -(-image.size // image.cluster_size), []
    for entry in image.words(image.l1_offset, -(-clusters // per_table)):
        require(entry & COPIED and entry & OFFSET_MASK, 'an L1 entry is 0x%x' % entry)
        words = image.words(entry & OFFSET_MASK, image.cluster_size // 8)
        out += list(zip(words[::2], words[1::2])) if image.extended_l2 else list(words)
    return out[:clusters], out[clusters:]


# ---- the image ------------------------------------------------------------------------------------------------------

def case_random(work, seed, loop):
    rng = random.Random(seed)
    extended = rng.random() < 0.3
    cluster = 1 << rng.randrange(14 if extended else 9, 22)
    clusters = rng.choice((1, 2, rng.randrange(1, 200), 5000))
    size = min(max(cluster * clusters + 512 * rng.choice((0, 1, -1, rng.randrange(cluster // 512))), 512), 64 * MiB)
    raw = Raw(make_raw(work, rng, size))
    name, options = 'disk.raw', ['--cluster-size', str(cluster)] + (['--extended-l2'] if extended else [])
    if loop:
        name = work.run('losetup', '-f', '--show', 'disk.raw').out.strip()
    try:
        gran = 1 << rng.randrange(9, 32)
        answer = attach(work, *options, '--bitmap', 'b 0', '-g', str(gran), raw=name)
        require_equal((answer['virtual-size'], answer['cluster-size'], answer['file-size'], answer['data-is-device']),
                      (size, cluster, os.path.getsize(work.path('meta.qcow2')), loop), 'what is told')
        require_same_disk(work, raw=name)
        require_equal(work.info_bitmaps('meta.qcow2'), {'b 0': (gran, ['auto'])}, 'bitmaps')
        clean, behind = entries_of(work.path('meta.qcow2'))
        plain = [i * cluster | COPIED for i in range(len(clean))]
        require_equal(clean, [(p, 0xffffffff) for p in plain] if extended else plain, 'entries')
        require(not any(any(e) if extended else e for e in behind), 'entries behind the end')
        work.qcbm('check', 'meta.qcow2')
        require_found(work, {})
        # a dry run tells the same, and makes nothing
        dry = attach(work, *options, '--bitmap', 'b 0', '-g', str(gran), '--dry-run', raw=name, image='other.qcow2')
        require_equal(dict(dry, image='', **{'dry-run': False, 'libvirt-disk': ''}),
                      dict(answer, image='', **{'libvirt-disk': ''}), 'dry run')
        require(not os.path.exists(work.path('other.qcow2')), 'a dry run made a file')
    finally:
        if loop:
            work.run('losetup', '-d', name)
    raw.require_kept('attach')


def qmp(process, name, **arguments):
    process.stdin.write(json.dumps({'execute': name, 'arguments': arguments}) + '\n')
    process.stdin.flush()
    while True:
        answer = json.loads(process.stdout.readline())
        if 'event' not in answer:
            require('return' in answer, '%s: %r' % (name, answer))
            return


def create_by_daemon(work, raw, size, cluster, extended, image):
    """blockdev-create with both nodes, and nothing else before its job has ended."""
    open(work.path(image), 'wb').close()
    argv = ['qemu-storage-daemon', '--chardev', 'stdio,id=m', '--monitor', 'chardev=m',
            '--blockdev', 'driver=file,node-name=meta,filename=' + image,
            '--blockdev', 'driver=file,node-name=data,filename=' + raw]
    work.note(' '.join(argv))
    process = subprocess.Popen(argv, cwd=work.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        require('QMP' in json.loads(process.stdout.readline()), 'greeting')
        qmp(process, 'qmp_capabilities')
        process.stdin.write(json.dumps({'execute': 'blockdev-create', 'arguments': {'job-id': 'j', 'options': {
            'driver': 'qcow2', 'file': 'meta', 'data-file': 'data', 'data-file-raw': True, 'size': size,
            'cluster-size': cluster, 'extended-l2': extended}}}) + '\n')
        process.stdin.flush()
        while True:
            event = json.loads(process.stdout.readline())
            require('error' not in event, repr(event))
            if event.get('event') == 'JOB_STATUS_CHANGE' and event['data']['status'] == 'concluded':
                break
        qmp(process, 'job-dismiss', id='j')
        process.stdin.write('{"execute": "quit"}\n')
        process.stdin.close()
        require_equal(process.wait(qtool.COMMAND_TIMEOUT), 0, 'exit code of the daemon')
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def case_daemon(work, size, cluster, extended):
    """The same as QEMU preallocates, entry by entry; but for its subclusters, which make a disk of zeros."""
    make_raw(work, random.Random(size), size)
    shutil.copy(work.path('disk.raw'), work.path('theirs.raw'))  # which it makes longer
    options = ['--extended-l2'] if extended else []
    attach(work, '--cluster-size', str(cluster), *options)
    create_by_daemon(work, 'theirs.raw', size, cluster, extended, 'theirs.qcow2')
    ours, behind = entries_of(work.path('meta.qcow2'))
    theirs, behind_theirs = entries_of(work.path('theirs.qcow2'))
    if extended:
        require_equal({word for _, word in theirs}, {0}, 'subclusters, as QEMU makes them')
        theirs = [(entry, 0xffffffff) for entry, _ in theirs]
    require_equal(ours, theirs, 'entries')
    require_equal(behind, behind_theirs, 'entries behind the end')
    mine, other = Qcow2(work.path('meta.qcow2')), Qcow2(work.path('theirs.qcow2'))
    require_equal((mine.version, mine.size, mine.incompatible, mine.compatible, mine.autoclear, mine.refcount_order),
                  (other.version, other.size, other.incompatible, other.compatible, other.autoclear, other.refcount_order),
                  'header')
    # the daemon stores the name as it has it, and has made the data longer by less than a cluster
    theirs = {'name-relative': []}
    if extended:
        theirs['entry-unallocated'] = [(0, size)]
    require_found(work, theirs, '--data', 'theirs.raw', image='theirs.qcow2')
    if extended:
        work.qcbm('attach', '--reset', '--data', 'theirs.raw', 'theirs.qcow2')
        require_found(work, {'name-relative': []}, '--data', 'theirs.raw', image='theirs.qcow2')
        work.check('theirs.qcow2')
        require_equal(work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', 'theirs.qcow2', 'theirs.raw', rc=(0, 1)).code,
                      0, 'the disk of the daemon, put right')


def case_refused(work):
    raw = Raw(make_raw(work, random.Random(1), MiB))
    for size in (0, 1, 511, 513, 65535):
        with open(work.path('odd.raw'), 'wb') as f:
            f.truncate(size)
        work.qcbm_refused('attach', '--data', 'odd.raw', 'm.qcow2', file='odd.raw',
                          says=['truncate -s %d' % (-(-size // 512) * 512)] if size else ['empty'])
    work.run('truncate', '-s', '65536', 'odd.raw')
    attach(work, raw='odd.raw', image='odd.qcow2')  # the advice
    work.qcbm_refused('attach', '--data', 'disk.raw', 'odd.qcow2', says=['exists'], unchanged=['odd.qcow2'])
    work.qcbm_refused('attach', '--dry-run', '--data', 'disk.raw', 'odd.qcow2', says=['exists'])
    work.qcbm_refused('attach', '--data', 'odd.qcow2', 'm.qcow2', says=['qcow2 image', '--force'])
    attach(work, '--force', raw='odd.qcow2', image='inner.qcow2')
    require_same_disk(work, 'inner.qcow2', 'odd.qcow2')
    work.qcbm_refused('attach', '--data', 'missing.raw', 'm.qcow2', says=['No such file'], file='missing.raw')
    work.qcbm_refused('attach', '--data', '.', 'm.qcow2', says=['directory'])
    work.qcbm_refused('attach', '--data', 'disk.raw', 'missing/m.qcow2', says=['No such file'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--cluster-size', '3k', 'm.qcow2', says=['power of two'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--cluster-size', '4M', 'm.qcow2', says=['2 MiB'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--extended-l2', '--cluster-size', '4k', 'm.qcow2', says=['16 KiB'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--bitmap', 'b', '-g', '1000', 'm.qcow2', says=['power of 2'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--bitmap', '', 'm.qcow2', says=['empty'])
    work.qcbm_refused('attach', '--data', 'disk.raw', '--data-name', 'x' * 500, '--force', '--cluster-size', '512', 'm.qcow2',
                      says=['room'])
    work.run('truncate', '-s', '1T', 'huge.raw')
    work.qcbm_refused('attach', '--data', 'huge.raw', '--cluster-size', '512', 'm.qcow2', says=['larger --cluster-size'])
    require_equal([n for n in os.listdir(work.dir) if n.startswith('m.qcow2')], [], 'what refusals leave')
    # a delta has been applied to it in part
    with open(work.path('disk.raw.qcbm-apply'), 'wb'):
        pass
    work.qcbm_refused('attach', '--data', 'disk.raw', 'm.qcow2', says=['in part', 'qcbm apply'])
    os.unlink(work.path('disk.raw.qcbm-apply'))
    # somebody writes to it
    with subprocess.Popen(['qemu-io', '-f', 'raw', 'disk.raw'], cwd=work.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as writer:
        writer.stdin.write('read 0 512\n')
        writer.stdin.flush()
        writer.stdout.readline()
        work.qcbm_refused('attach', '--data', 'disk.raw', 'm.qcow2', says=['lock'])
        writer.stdin.write('quit\n')
        writer.stdin.close()
    raw.require_kept('refusals')
    usage = (['m.qcow2'], ['--verify', '--reset', 'm.qcow2'], ['--verify', '--bitmap', 'b', 'm.qcow2'], ['--data', 'disk.raw'],
             ['--reset', '--extended-l2', 'm.qcow2'], ['--data', 'disk.raw', '--undo', 'u', 'm.qcow2'],
             ['--data', 'disk.raw', '-g', '64k', 'm.qcow2'], ['--data', 'disk.raw', '-U', 'm.qcow2'])
    for argv in usage:
        done = work.qcbm('attach', *argv, rc=1)
        require('--help' in done.err, done.err)


def case_names(work):
    """What is stored, and where it leads."""
    for folder in ('data', 'images'):
        os.mkdir(work.path(folder))
    make_raw(work, random.Random(2), MiB, 'data/d <&\'> é.raw')
    os.symlink(work.path('data/d <&\'> é.raw'), work.path('link'))
    for k, (given, stored, options) in enumerate((
            ('data/d <&\'> é.raw', work.path('data/d <&\'> é.raw'), []),
            ('./data/d <&\'> é.raw', work.path('data/d <&\'> é.raw'), []),
            (work.path('link'), work.path('link'), []), ('link', work.path('link'), []),
            ('link', 'data/d <&\'> é.raw', ['--data-name', 'data/d <&\'> é.raw']))):
        image = 'images/%d.qcow2' % k
        answer = attach(work, *options, raw=given, image=image)
        require_equal(work.info(image)['format-specific']['data']['data-file'], stored, 'stored name')
        require_same_disk(work, image, given)
        require_found(work, {'name-relative': []} if options else {}, image=image)
        import xml.etree.ElementTree as xml
        disk = xml.fromstring(answer['libvirt-disk'])
        require_equal((disk.find('source').get('file'), disk.find('source/dataStore/source').get('file')),
                      (work.path(image), work.path(stored)), 'names for libvirt')
    # a relative one is for one working directory: for QEMU, and here
    for folder, good in (('.', True), ('images', False)):
        argv = ['env', '-C', folder]
        require_equal(work.run(*argv, 'qemu-img', 'check', work.path('images/4.qcow2'), rc=None).code == 0, good, 'qemu-img in ' + folder)
        done = work.run(*argv, qtool.QCBM, 'attach', '--verify', work.path('images/4.qcow2'), rc=(0, 2))
        require_equal((done.code == 0, '[name-unreachable]' in done.out), (good, not good), 'verify in ' + folder)
    work.qcbm_refused('attach', '--data', 'link', '--data-name', 'data/x', 'images/x.qcow2', says=['does not lead', '--force'])
    # a name that will be right elsewhere, long, or like a protocol's, which QEMU takes for a file's all the same
    for name in ('elsewhere/x', 'x' * 480, 'x' * 488, 'x' * 496, 'nbd:localhost:1', 'json:{}'):
        attach(work, '--force', '--data-name', name, '--bitmap', 'b', raw='link', image='far.qcow2')
        opts = 'driver=qcow2,file.filename=far.qcow2,data-file.driver=file,data-file.filename=link'
        require_equal(work.info_bitmaps('far.qcow2', opts), {'b': (65536, ['auto'])}, 'bitmaps')
        work.run('qemu-img', 'bitmap', '--add', '--image-opts', opts, 'c')
        found, answer = verify(work, image='far.qcow2')
        require_equal(sorted(found), ['name-unreachable'], name)
        require_found(work, {'name-elsewhere': []}, '--data', 'link', image='far.qcow2')
        # the advice
        work.run('qemu-img', 'amend', '--image-opts', opts, '-o', 'data_file=' + work.path('link'))
        require_found(work, {}, image='far.qcow2')
        os.unlink(work.path('far.qcow2'))


def case_defaults(work):
    """1 TiB; sizes of clusters that are taken if nothing is said; what measure --bitmap says of all of it."""
    work.run('truncate', '-s', '1T', 'disk.raw')
    raw = Raw(work.path('disk.raw')) if not os.environ.get('ASAN_OPTIONS') else None
    measured = json.loads(work.qcbm('measure', '--bitmap', '--output=json', '-f', 'raw', 'disk.raw').out)
    sizes = {(m['cluster-size'], m['extended-l2']): m['size'] for m in measured['metadata-images']}
    for options, cluster, extended in (([], 64 * KiB, False), (['--extended-l2'], 2 * MiB, True),
                                       (['--cluster-size', '2M'], 2 * MiB, False)):
        answer = attach(work, *options)
        require_equal((answer['cluster-size'], answer['extended-l2']), (cluster, extended), 'default')
        require_equal((answer['file-size'], os.path.getsize(work.path('meta.qcow2'))), (sizes[cluster, extended],) * 2, 'size')
        work.check('meta.qcow2')
        require_found(work, {})
        os.unlink(work.path('meta.qcow2'))
    attach(work, '--cluster-size', '2M')
    for row in measured['bitmaps']:
        if row['granularity'] >= 64 * KiB:
            continue
        made = attach(work, '--bitmap', 'b', '-g', str(row['granularity']), image='b.qcow2')
        require_equal(made['file-size'] - sizes[64 * KiB, False], row['least'] + 64 * KiB, 'a clean bitmap, and the directory')
        os.unlink(work.path('b.qcow2'))
    one = json.loads(work.qcbm('measure', '--bitmap', '--size=640k', '-o', 'cluster_size=4k', '--output=json').out)
    require_equal([(b['granules'], b['least'], b['most']) for b in one['bitmaps'] if b['granularity'] in (512, 65536)],
                  [(1280, 4096, 8192), (10, 4096, 8192)], 'bitmaps of a small disk')
    lines = work.qcbm('measure', '--bitmap', '--size=1T').out
    require_equal((len(re.findall(r'(?m)^ *[0-9.]+ [KMG]?i?B ', lines)), 'extended L2' in lines), (30, True), lines)
    if raw:
        raw.require_kept('attach')


# ---- a life, and what goes wrong in it --------------------------------------------------------------------------------

def case_life(work, extended):
    """Writes, discards and zeroes of a guest; what the raw disk and the guest have stays the same."""
    rng = random.Random(7)
    make_raw(work, rng, 8 * MiB + 512)
    attach(work, '--bitmap', 'b', *(['--extended-l2'] if extended else []))
    unit = 64 * KiB
    for session in range(3):
        commands = []
        for _ in range(12):
            at, n = rng.randrange(16 * 1024) * 512, rng.choice((512, 4096, unit, 5 * unit))
            n = min(n, 8 * MiB + 512 - at)
            commands.append(rng.choice(('write -q -P 5 %d %d', 'write -q -z %d %d', 'write -q -z -u %d %d', 'discard -q %d %d'))
                            % (at, n))
        commands.append('write -q -z %d %d' % (8 * MiB, 512))  # the last cluster, which is cut short
        work.io('meta.qcow2', *commands)
        size = os.path.getsize(work.path('disk.raw'))
        require(8 * MiB + 512 <= size < 10 * MiB, 'QEMU made the raw disk %d bytes' % size)
        require_same_disk(work)
        answer = require_found(work, {})
        require(answer['zero-bytes'] > 0, 'nothing reads as zeros')
        raw = Raw(work.path('disk.raw'))
        if session == 1:
            dry = json.loads(work.qcbm('attach', '--reset', '--dry-run', '--output=json', 'meta.qcow2').out)
            done = json.loads(work.qcbm('attach', '--reset', '--output=json', 'meta.qcow2').out)
            require_equal(dict(dry['plan']), dict(done['plan']), 'plan')
            require_equal((done['reset-bytes'], done['changed-bytes'], done['bitmaps-marked']), (answer['zero-bytes'], 0, 0),
                          'reset')
            answer = require_found(work, {})
            require_equal(answer['zero-bytes'], 0, 'bytes that read as zeros')
            require_same_disk(work)
        raw.require_kept('verify and reset')


def small(work, *options):
    make_raw(work, random.Random(3), 4 * MiB)
    patch(work.path('disk.raw'), 2 * MiB, b'\1' * MiB)
    attach(work, '--bitmap', 'b', *options)


def set_entry(work, guest, *words, image='meta.qcow2'):
    path = work.path(image)
    patch(path, Qcow2(path).l2_place(guest), b''.join(w.to_bytes(8, 'big') for w in words))


def case_traps(work):
    """All that section of the manual lists, one by one."""
    cluster = 64 * KiB
    small(work)
    shutil.copy(work.path('meta.qcow2'), work.path('good.qcow2'))
    shutil.copy(work.path('disk.raw'), work.path('good.raw'))

    def again():
        shutil.copy(work.path('good.qcow2'), work.path('meta.qcow2'))
        shutil.copy(work.path('good.raw'), work.path('disk.raw'))

    # length: shorter; longer by less than a cluster, by one
    work.run('truncate', '-s', str(4 * MiB - 512), 'disk.raw')
    require_found(work, {'data-shorter': []})
    work.run('truncate', '-s', str(4 * MiB), 'disk.raw')  # the advice
    require_found(work, {})
    work.run('truncate', '-s', str(4 * MiB + cluster - 1), 'disk.raw')
    require_found(work, {})
    work.run('truncate', '-s', str(4 * MiB + cluster), 'disk.raw')
    require_found(work, {'data-longer': []})
    work.run('qemu-img', 'resize', '-q', '-f', 'qcow2', 'meta.qcow2', str(4 * MiB + cluster))  # the advice
    require_found(work, {})
    again()
    # names: that of the file changes; the image is moved
    os.rename(work.path('disk.raw'), work.path('moved.raw'))
    require_found(work, {'name-unreachable': []})
    require_found(work, {'name-elsewhere': []}, '--data', 'moved.raw')
    again()
    require_found(work, {'name-elsewhere': []}, '--data', 'moved.raw')  # a copy
    require_found(work, {}, '--data', 'disk.raw')
    require_found(work, {'name-unreachable': []}, '--data', 'missing.raw')
    # features
    qtool.clear_feature_bits(work.path('meta.qcow2'), 'autoclear', 2)
    require_found(work, {'raw-bit-missing': []})
    again()
    work.create('plain.qcow2', 4 * MiB)
    require_found(work, {'no-data-file': []}, image='plain.qcow2')
    qtool.rewrite_first_cluster(work.path('meta.qcow2'),
                                [e for e in Qcow2(work.path('meta.qcow2')).extensions if e[0] != qtool.EXT_DATA_FILE])
    require_found(work, {'name-missing': []})
    require_found(work, {'name-missing': []}, '--data', 'disk.raw')
    again()
    # entries
    kinds = {5: (0, 'entry-unallocated'), 7: (7 * cluster, 'entry-not-copied'), 9: (8 * cluster | COPIED, 'entry-elsewhere'),
             11: (11 * cluster | COPIED | 2, 'entry-bad'), 13: (1 << 62 | 0x20000, 'entry-bad'), 0: (0, 'entry-unallocated')}
    for k, (word, _) in kinds.items():
        set_entry(work, k * cluster, word)
    wanted = {}
    for k, (_, code) in sorted(kinds.items()):
        wanted.setdefault(code, []).append((k * cluster, (k + 1) * cluster))
    require_found(work, wanted)
    work.qcbm('attach', '--reset', 'meta.qcow2')
    require_found(work, {})
    require_same_disk(work)
    again()
    # a table that is not there: the advice is to attach anew
    image = Qcow2(work.path('meta.qcow2'))
    patch(work.path('meta.qcow2'), image.l1_offset, bytes(8))
    require_found(work, {'table-missing': [(0, 4 * MiB)]})
    work.qcbm_refused('attach', '--reset', 'meta.qcow2', says=['qcbm attach --data', '--copy-to'], unchanged=['meta.qcow2'])
    attach(work, image='anew.qcow2')
    work.qcbm('bitmap', '--copy-to', 'anew.qcow2', 'meta.qcow2', 'b')
    require_found(work, {}, image='anew.qcow2')
    patch(work.path('meta.qcow2'), image.l1_offset, (1 << 40 | COPIED).to_bytes(8, 'big'))
    require_found(work, {'table-bad': [(0, 4 * MiB)]})


def case_grown(work):
    """A raw disk that has grown, over what another volume had there: the next increment has all of it. Where the advice was not
    followed its tail is clean, and what is laid over the shorter backup is refused."""
    small(work)
    shutil.copy(work.path('disk.raw'), work.path('full.raw'))
    work.run('truncate', '-s', str(8 * MiB), 'disk.raw')
    patch(work.path('disk.raw'), 5 * MiB, b'\7' * (MiB + 512))
    answer = json.loads(work.qcbm('attach', '--verify', '--output=json', 'meta.qcow2', rc=2).out)
    require_equal([f['code'] for f in answer['findings']], ['data-longer'], 'findings')
    advice = re.findall(r"'((?:qemu-img|qcbm) [^']*)'", answer['findings'][0]['cure'])
    require_equal(len(advice), 2, 'commands of the advice')
    resize, mark = ([{'IMAGE': 'meta.qcow2', 'NAME': 'b'}.get(w, w) for w in words.split()] for words in advice)
    work.run(*resize)
    require_found(work, {})
    work.qcbm('delta', '--bitmap', 'b', 'meta.qcow2', 'forgotten')
    for way in (['-o', 'wrong.raw'], ['--dry-run'], ['--in-place']):
        refused = work.qcbm('apply', '-f', 'raw', *way, 'full.raw', 'forgotten', rc=1)
        require('it leaves alone what is at guest' in refused.err, 'not refused for its tail: ' + refused.err)
    require_equal(os.path.getsize(work.path('full.raw')), 4 * MiB, 'size of the base')
    require_equal(mark[0], 'qcbm', 'second command')
    work.qcbm(*mark[1:])
    work.qcbm('delta', '--bitmap', 'b', 'meta.qcow2', 'whole')
    work.qcbm('apply', '-f', 'raw', '-o', 'restored.raw', 'full.raw', 'whole')
    work.run('cmp', 'restored.raw', 'disk.raw')
    require_same_disk(work)


def case_zero_over_data(work, extended):
    """Zeros that a guest made, and that hide what another program writes there."""
    unit = 64 * KiB
    small(work, *(['--extended-l2'] if extended else []))
    # a discard is for whole clusters, with subclusters too
    work.io('meta.qcow2', 'write -q -z 2M 256k', '%s -q 3M 128k' % ('write -z' if extended else 'discard'))
    require_found(work, {})
    with open(work.path('disk.raw'), 'r+b') as f:
        for at in (2 * MiB + unit + 5, 3 * MiB - 1, 3 * MiB + 2 * unit - 1, 2 * MiB + 2 * unit, 2 * MiB + 3 * unit):
            f.seek(at)
            f.write(b'x')
    hidden = [(2 * MiB + unit, 2 * MiB + 4 * unit), (3 * MiB + unit, 3 * MiB + 2 * unit)]
    answer = require_found(work, {'zero-over-data': hidden})
    require_equal((answer['zero-bytes'], answer['zero-over-data-bytes']), (384 * KiB, 256 * KiB), 'bytes')
    work.qcbm('bitmap', '--clear', 'meta.qcow2', 'b')
    work.qcbm('bitmap', '--add', '--disable', '-g', '4k', 'meta.qcow2', 'off')
    shutil.copy(work.path('meta.qcow2'), work.path('before.qcow2'))
    work.qcbm('attach', '--reset', '--undo', 'undo', 'meta.qcow2')
    require_found(work, {})
    require_same_disk(work)
    image = Qcow2(work.path('meta.qcow2'))
    for name in ('b', 'off'):
        require_equal(image.bitmap_dirty(image.bitmap(name)), hidden, 'bits of ' + name)
    work.qcbm('undo', 'meta.qcow2', 'undo')
    require_equal(qtool.digest(work.path('meta.qcow2')), qtool.digest(work.path('before.qcow2')), 'undone')
    # a bitmap in use is left alone, and told
    patch(work.path('meta.qcow2'), Qcow2(work.path('meta.qcow2')).bitmap('b').entry_offset + 12, (3).to_bytes(4, 'big'))
    done = work.qcbm('attach', '--reset', 'meta.qcow2')
    require('in use or damaged' in done.err, done.err)
    require_found(work, {})


def case_many(work):
    """Each second cluster hides something: more than are listed, but counted."""
    clusters = 1 << 18
    work.run('truncate', '-s', str(clusters * 512), 'disk.raw')
    with open(work.path('disk.raw'), 'r+b') as f:
        f.write(b'\1' * (clusters * 512))
    attach(work, '--cluster-size', '512')
    image = Qcow2(work.path('meta.qcow2'))
    tables = [entry & OFFSET_MASK for entry in image.words(image.l1_offset, clusters // 64)]
    first = min(tables)
    require_equal(tables, [first + 512 * i for i in range(len(tables))], 'tables')
    raw = bytearray(image.read(first, 512 * len(tables)))
    for i in range(0, clusters, 2):
        raw[8 * i + 7] |= 1
    patch(work.path('meta.qcow2'), first, bytes(raw))
    found, answer = None, json.loads(work.qcbm('attach', '--verify', '--output=json', 'meta.qcow2', rc=2).out)
    require_equal((answer['faults'], answer['left-out'], len(answer['findings']), answer['zero-over-data-bytes']),
                  (clusters // 2, clusters // 2 - 65536, 65536, clusters * 256), 'what is told')
    work.qcbm('attach', '--reset', 'meta.qcow2')
    require_same_disk(work)


def case_shared_tables(work):
    """A few tables that very many L1 entries name cost one look."""
    work.run('truncate', '-s', '1G', 'disk.raw')
    attach(work, '--cluster-size', '512')
    image = Qcow2(work.path('meta.qcow2'))
    one = image.words(image.l1_offset, 1)[0]
    patch(work.path('meta.qcow2'), image.l1_offset, one.to_bytes(8, 'big') * image.l1_size)
    require_found(work, {'table-bad': [(0, GiB)]})
    work.qcbm_refused('attach', '--reset', 'meta.qcow2', unchanged=['meta.qcow2'])


# ---- faults ---------------------------------------------------------------------------------------------------------

def strace(work, call, what, n, *argv):
    words = ['strace', '-f', '-o', 'trace', '-e', 'trace=' + call, *(['-e', 'inject=%s:%s:when=%d' % (call, what, n)] if n else []),
             qtool.QCBM, *argv]
    work.note(' '.join(words))
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
    return subprocess.run(words, cwd=work.dir, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=qtool.COMMAND_TIMEOUT)


def case_killed(work):
    """Killed, or failed, at each call that changes something: no image, or all of it. The raw disk is never open for writing."""
    work.run('truncate', '-s', '64M', 'disk.raw')
    raw = Raw(work.path('disk.raw'))
    argv = ['attach', '--data', 'disk.raw', '--cluster-size', '4k', '--bitmap', 'b', 'meta.qcow2']
    done = strace(work, 'openat,' + ','.join(CALLS), '', 0, *argv)
    require_equal(done.returncode, 0, done.stderr)
    with open(work.path('trace')) as f:
        lines = f.read()
    opened = re.findall(r'openat\(AT_FDCWD, "disk.raw", ([A-Z_|]*)', lines)
    require(opened and all(flags.startswith('O_RDONLY') for flags in opened), 'the raw disk was opened %r' % opened)
    counts = {call: len(re.findall(r'\b%s\(' % call, lines)) for call in CALLS}
    require(all(counts.values()), 'calls: %r' % counts)
    for call, n in counts.items():
        for k in range(1, n + 1):
            for what in ('signal=KILL', 'error=EIO'):
                for name in ('meta.qcow2', 'meta.qcow2.qcbm-new'):
                    if os.path.exists(work.path(name)):
                        os.unlink(work.path(name))
                done = strace(work, call, what, k, *argv)
                there = os.path.exists(work.path('meta.qcow2'))
                if what != 'signal=KILL' and call != 'link':  # where links are not to be had there is a rename
                    require_equal((done.returncode, there), (1, False), '%s %d fails' % (call, k))
                    require(not os.path.exists(work.path('meta.qcow2.qcbm-new')), 'a failed attach leaves a file')
                if there:
                    require_same_disk(work)
                    require_found(work, {})
    raw.require_kept('kills')


def main():
    args = qtool.arguments(__doc__, random=16, loop=0)
    cases = [(case_random, 'random-%d' % s, {'seed': s, 'loop': False}) for s in range(args.random)]
    cases += [(case_random, 'random-%d-loop' % s, {'seed': s, 'loop': True}) for s in range(args.loop)]
    cases += [(case_daemon, 'daemon-%d-%d%s' % (size, cluster, '-extended' if e else ''),
               {'size': size, 'cluster': cluster, 'extended': e})
              for size, cluster, e in ((MiB, 65536, False), (40 * MiB + 512, 512, False), (5 * MiB + 1024, 65536, False),
                                       (9 * MiB, 2 * MiB, True), (512, 65536, False))]
    cases += [(f, f.__name__[5:].replace('_', '-'), {}) for f in (case_refused, case_names, case_defaults, case_traps, case_grown, case_many,
                                                                  case_shared_tables, case_killed)]
    cases += [(case_life, 'life' + ('-extended' if e else ''), {'extended': e}) for e in (False, True)]
    cases += [(case_zero_over_data, 'zero-over-data' + ('-extended' if e else ''), {'extended': e}) for e in (False, True)]
    qtool.run_cases(args, cases)


if __name__ == '__main__':
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-storage-daemon', 'strace')
    sys.exit(main())
