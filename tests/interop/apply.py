#!/usr/bin/env python3
# apply.py - `qcbm apply`: base and deltas give the disk, byte for byte, and nothing else is taken for a base
#
# SPDX-License-Identifier: MIT
#
# A seed is a base of some kind (raw, qcow2 of all shapes, chains, snapshots, bitmaps, data files) and a history of writes, zeros
# and changes of size. Deltas of it are made by tests/interop/make_delta.c, which knows the disks alone. What qemu-img reads
# after an apply is compared with the disk as Python has it. By hand: --seeds 500; --kills 1000.
#
# Environment: QCBM, MAKE_DELTA = the command, the maker of deltas.

import json
import os
import random
import shutil
import struct
import subprocess

import qtool
from kill import CALLS, ERRORS
from qtool import (KiB, MiB, Qcow2, arguments, need_tools, part_of, ranges_clip, ranges_norm, ranges_or, ranges_outward,
                   require, require_equal, run_cases, served_dirty)

FORMS = ['qcow2', 'raw+map', 'rbd-diff', 'vnb']
OPTIONS = ['cluster_size=64k', 'cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=16k,extended_l2=on',
           'cluster_size=64k,extended_l2=on', 'cluster_size=2M', 'cluster_size=64k,refcount_bits=64',
           'cluster_size=16k,refcount_bits=1', 'data_file=base.data', 'data_file=base.data,data_file_raw=on',
           'cluster_size=64k,compression_type=zstd']


def forms_here(work):
    """Those that the tool reads by now."""
    if not hasattr(forms_here, 'found'):
        open(work.path('empty'), 'wb').close()
        forms_here.found = [f for f in FORMS if subprocess.run(
            [os.environ['MAKE_DELTA'], f, work.path('probe.' + f), work.path('empty'), work.path('empty'), '1' * 32, '-', '512',
             '0'], capture_output=True).returncode == 0]
    return forms_here.found


# ---- disks ------------------------------------------------------------------------------------------------------

def some_bytes(rng, n):
    return rng.choice([bytes([rng.randint(1, 255)]) * n, rng.randbytes(n)])


def random_writes(rng, size, count):
    """(offset, bytes; None: zeros), in sectors."""
    out = []
    for _ in range(count):
        unit = rng.choice([512, 4 * KiB, 4 * KiB, 64 * KiB])
        start = rng.randrange(max(size // unit, 1)) * unit
        length = min(size - start, unit * rng.randint(1, 8))
        out.append((start, None if rng.random() < 0.3 else some_bytes(rng, length), length))
    return [w for w in out if w[2] > 0]


def change(disk, writes):
    disk = bytearray(disk)
    for start, data, length in writes:
        disk[start:start + length] = data if data is not None else bytes(length)
    return bytes(disk)


def resized(rng, disk):
    size = rng.choice([len(disk) // 2, len(disk) + 64 * KiB, len(disk) + MiB + 512, len(disk) * 2, 3 * len(disk) // 4])
    size = max(size // 512 * 512, 512)
    return disk[:size] + bytes(max(size - len(disk), 0))


def put(work, name, disk):
    with open(work.path(name), 'wb') as f:
        f.write(disk)


def delta(work, name, form, old, new, own, parent, g, probes=64):
    put(work, 'old', old)
    put(work, 'new', new)
    return int(work.run(os.environ['MAKE_DELTA'], form, name, 'old', 'new', own, parent, g, probes).out)


def dirty_of(old, new, g):
    """What a delta of granularity @g writes."""
    old = old[:len(new)].ljust(len(new), b'\0') if len(old) >= len(new) else old
    out = []
    for at in range(0, len(new), g):
        n = min(g, len(new) - at)
        if at + n > len(old) or old[at:at + n] != new[at:at + n]:
            out.append((at, at + n))
    return ranges_norm(out)


# ---- bases ------------------------------------------------------------------------------------------------------

class Base:
    """name, fmt, disk as it reads; snapshots: name -> disk; bitmaps: name -> (records, ranges)."""


def write_io(work, fmt, name, writes, packed=False):
    commands = []
    for i, (start, data, length) in enumerate(writes):
        if data is None:
            commands.append('write -q -z %s%d %d' % ('-u ' if i % 2 and fmt == 'qcow2' else '', start, length))
        else:
            put(work, 'bytes%d' % i, data)
            commands.append('write -q -s %s %d %d' % (work.path('bytes%d' % i), start, length))
    if commands:
        work.io(name, *commands, fmt=fmt)


def compress(work, rng, b, cluster):
    """Some clusters that are not there yet."""
    for _ in range(3):
        start = rng.randrange(len(b.disk) // cluster) * cluster if len(b.disk) >= cluster else 0
        data = bytes([rng.randint(1, 255)]) * cluster
        if start + cluster > len(b.disk):
            continue
        done = work.io(b.name, 'write -q -c -P %d %d %d' % (data[0], start, cluster), may_fail=True)
        if done.code == 0 and 'failed' not in done.out + done.err:
            b.disk = change(b.disk, [(start, data, cluster)])


def random_base(work, rng, resizes):
    b = Base()
    b.snapshots, b.bitmaps = {}, {}
    size = rng.choice([MiB, 2 * MiB, 3 * MiB + 512, 5 * MiB + 4 * KiB, 300 * KiB])
    b.fmt, b.name, b.options = rng.choice(['raw', 'qcow2', 'qcow2', 'qcow2']), 'base', ''
    first = random_writes(rng, size, rng.randint(3, 12))
    b.disk = change(bytes(size), first)
    if b.fmt == 'raw':
        put(work, 'plain', b.disk)
        qtool.copy_sparse(work.path('plain'), work.path('base'))
        return b
    b.options = rng.choice(OPTIONS)
    has_data_file, backing = 'data_file' in b.options, None
    if rng.random() < 0.4 and not has_data_file:
        backing = rng.choice(['raw', 'qcow2'])
        longer = rng.choice([0, 0, 64 * KiB, MiB])
        under = b.disk + some_bytes(rng, longer)
        put(work, 'under.raw', under)
        if backing == 'qcow2':
            work.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=%s' % rng.choice(['4k', '64k']),
                     'under.raw', 'under.qcow2')
    work.create('base', size, b.options, 'under.' + backing if backing else None, backing or 'qcow2')
    if not backing:
        write_io(work, 'qcow2', 'base', first)
    cluster = {'cluster_size=64k': 65536, 'cluster_size=4k': 4096, 'cluster_size=16k': 16384}.get(b.options.split(',')[0])
    if cluster and rng.random() < 0.5:
        compress(work, rng, b, cluster)
    more = random_writes(rng, size, rng.randint(0, 5))
    write_io(work, 'qcow2', 'base', more)
    b.disk = change(b.disk, more)
    if not has_data_file and 'refcount_bits=1' not in b.options and rng.random() < 0.4:
        for i in range(rng.randint(1, 2)):
            work.run('qemu-img', 'snapshot', '-c', 's%d' % i, 'base')
            b.snapshots['s%d' % i] = b.disk
            more = random_writes(rng, size, rng.randint(0, 4))
            write_io(work, 'qcow2', 'base', more)
            b.disk = change(b.disk, more)
    if not resizes and rng.random() < 0.6:
        add_bitmaps(work, rng, b)
    return b


def add_bitmaps(work, rng, b):
    for name in ('on', 'off', 'fine'):
        g = rng.choice([64 * KiB, 4 * KiB, 512, MiB])
        work.run('qemu-img', 'bitmap', '--add', '-g', g, *(['--disable'] if name == 'off' else []), 'base', name)
        b.bitmaps[name] = (name != 'off', g, [])
    more = random_writes(rng, len(b.disk), 2)
    write_io(work, 'qcow2', 'base', more)
    b.disk = change(b.disk, more)
    dirty = served_dirty(work, 'base', list(b.bitmaps))
    b.bitmaps = {name: (on, g, dirty[name]) for name, (on, g, _) in b.bitmaps.items()}


def keep(work, name='base'):
    """A copy of all files of the base; a function that puts them back."""
    there = [f for f in os.listdir(work.dir) if f in (name, name + '.data') or f.startswith('under')]
    os.makedirs(work.path('kept'), exist_ok=True)
    for f in there:
        shutil.copy2(work.path(f), work.path('kept/' + f))

    def back():
        for f in os.listdir(work.dir):
            if f.startswith(name + '.qcbm'):
                os.unlink(work.path(f))
        for f in there:
            shutil.copy2(work.path('kept/' + f), work.path(f))
    return back


# ---- what must be true afterwards -------------------------------------------------------------------------------

def content(work, name, fmt, snapshot=None):
    if fmt == 'raw':
        with open(work.path(name), 'rb') as f:
            data = f.read()
        return data + bytes(-len(data) % 512)  # QEMU's disk has all of the last sector
    work.run('qemu-img', 'convert', '-f', fmt, '-O', 'raw', *(['-l', 'snapshot.name=' + snapshot] if snapshot else []), name,
             'view')
    with open(work.path('view'), 'rb') as f:
        data = f.read()
    os.unlink(work.path('view'))
    return data


def require_disk(work, name, fmt, disk, what):
    got = content(work, name, fmt)
    require_equal(len(got), len(disk), what + ': size')
    if got != disk:
        first = next(i for i in range(len(disk)) if got[i] != disk[i])
        require(False, '%s: content differs, first at %#x' % (what, first))
    if fmt == 'qcow2':
        work.check(name)


def require_base(work, b, disk, written, what):
    require_disk(work, b.name, b.fmt, disk, what)
    for name, then in b.snapshots.items():  # which qemu-img reads in the size that the disk has now
        both = min(len(then), len(disk))
        require(content(work, b.name, 'qcow2', name)[:both] == then[:both], '%s: snapshot %s' % (what, name))
    dirty = served_dirty(work, b.name, list(b.bitmaps))
    for name, (on, g, was) in b.bitmaps.items():
        want = ranges_or(was, ranges_outward(written, g, len(disk))) if on else was
        require_equal(dirty[name], ranges_clip(want, len(disk)), '%s: bitmap %s' % (what, name))
    if 'data_file_raw' in b.options:
        with open(work.path('base.data'), 'rb') as f:
            require(f.read()[:len(disk)] == disk, what + ': raw data file')


def apply(work, *options, rc=0):
    return work.qcbm('apply', '--output=json', *options, rc=rc)


def refused(work, says, *options, unchanged=('base',)):
    work.qcbm_refused('apply', *options, says=[says], file=None, unchanged=unchanged)


# ---- a history --------------------------------------------------------------------------------------------------

def ident(n):
    return '%032x' % (n + 1)


def case_seed(work, seed):
    rng = random.Random(seed)
    resizes = rng.random() < 0.4
    b = random_base(work, rng, resizes)
    back = keep(work)
    disks, names, written = [b.disk], [], []
    for i in range(rng.randint(1, 3)):
        disk = change(disks[-1], random_writes(rng, len(disks[-1]), rng.randint(1, 8)))
        if resizes and rng.random() < 0.6:
            disk = resized(rng, disk)
            disk = change(disk, random_writes(rng, len(disk), 2))
        g = rng.choice([512, 4 * KiB, 64 * KiB])
        form = rng.choice(forms_here(work))
        names.append('d%d.%s' % (i, form.replace('+', '-')))
        g = delta(work, names[-1], form, disks[-1], disk, ident(i), ident(i - 1) if i else '-', g)
        written.append(dirty_of(disks[-1], disk, g))
        disks.append(disk)
    all_written = ranges_or(*written)
    # at once, and again
    apply(work, '--in-place', 'base', *names)
    require_base(work, b, disks[-1], all_written, 'in place, all at once')
    told = json.loads(apply(work, '--in-place', 'base', *names).out)
    require_equal((told['applied'], told['already'], told['state']), (0, len(names), ident(len(names) - 1)), 'again')
    require_base(work, b, disks[-1], all_written, 'again')
    # one by one, each twice
    back()
    for i, name in enumerate(names):
        for count in (1, 0):
            require_equal(json.loads(apply(work, '--in-place', 'base', name).out)['applied'], count, 'one by one')
        require_disk(work, 'base', b.fmt, disks[i + 1], 'in place, delta %d' % i)
    require_base(work, b, disks[-1], all_written, 'one by one')
    # into new files
    back()
    before = qtool.digest(work.path('base'))
    for fmt in 'raw', 'qcow2':
        told = json.loads(apply(work, '-o', 'new.' + fmt, '-O', fmt, 'base', *names).out)
        require_equal(told['state'], ident(len(names) - 1), 'state of new ' + fmt)
        require_disk(work, 'new.' + fmt, fmt, disks[-1], 'new ' + fmt)
        told = json.loads(apply(work, '--in-place', '-f', fmt, 'new.' + fmt, *names).out)
        require_equal((told['applied'], told['already']), (0, len(names)), 'recorded with new ' + fmt)
    require_equal(qtool.digest(work.path('base')), before, 'the base of -o')
    refuse_all(work, rng, b, disks, names)


def refuse_all(work, rng, b, disks, names):
    if len(names) > 1:
        refused(work, 'parent|begins at', '--in-place', 'base', names[1])  # flat
        refused(work, 'follow|parent|begins at', '--in-place', 'base', *reversed(names))
        refused(work, 'parent|begins at', '-o', 'flat', 'base', names[-1])
    if len(names) > 2:
        refused(work, 'follow', '--in-place', 'base', names[0], names[2])
    refuse_damaged(work, rng, names[0])
    refuse_bare(work, disks[0])
    other = some_bytes(random.Random(rng.random()), len(disks[0]))
    delta(work, 'foreign', 'qcow2', other, change(other, [(0, b'x' * 512, 512)]), 'f' * 32, '-', 4096)
    if len(disks[0]) > 4096:
        refused(work, 'not the one|begins at', '--in-place', 'base', 'foreign')
    left = [f for f in os.listdir(work.dir) if '.qcbm-' in f or f == 'flat']
    require_equal([f for f in left if not f.startswith('new.')], [], 'left behind by what was refused')


def refuse_damaged(work, rng, name):
    """A bit of its data, or its end."""
    shutil.copy(work.path(name), work.path('whole'))
    with open(work.path(name), 'r+b') as f:
        data = bytearray(f.read())
        used = [i for i, byte in enumerate(data) if byte]
        if not used:
            return
        at = used[-1] if rng.random() < 0.5 else rng.choice(used)
        f.seek(at)
        f.write(bytes([data[at] ^ (1 << rng.randrange(8))]))
    done = work.qcbm('apply', '--in-place', '--dry-run', 'base', name, rc=None)
    if done.code == 0:  # a byte that says nothing
        same = json.loads(apply(work, '--dry-run', 'base', name).out)['deltas'][0]
        require(same['id'] == ident(0), 'damaged at %#x, and taken for another delta' % at)
    shutil.copy(work.path('whole'), work.path(name))


def refuse_bare(work, disk):
    """A stream with an identity, whose sidecar file has not come with it: it may have any bytes."""
    for form in 'rbd-diff', 'vnb':
        name = 'bare.' + form
        delta(work, name, form, disk, change(disk, [(0, b'y' * 512, 512)]), 'e' * 32, '-', 4096)
        os.unlink(work.path(name + '.json'))
        for more in [], ['--force-parent']:
            refused(work, "'%s.json' is missing" % name, '--in-place', *more, 'base', name)


# ---- kills ------------------------------------------------------------------------------------------------------

def kill_base(work, kind, seed):
    """A base with something of all that a write has to look after, and two deltas."""
    rng = random.Random(seed)
    b = Base()
    b.snapshots, b.bitmaps, b.name, b.options = {}, {}, 'base', ''
    b.fmt = 'raw' if kind == 'raw' else 'qcow2'
    b.disk = change(bytes(MiB), random_writes(rng, MiB, 12))
    if kind == 'raw':
        put(work, 'base', b.disk)
    else:
        b.options = 'data_file=base.data' if kind == 'data file' else 'cluster_size=4k'
        put(work, 'under.raw', b.disk)
        if kind == 'data file':
            work.create('base', MiB, b.options)
            put(work, 'base.data', b.disk)
            write_io(work, 'qcow2', 'base', [(0, b.disk, MiB)])
        else:
            work.create('base', MiB, b.options, 'under.raw', 'raw')
        if kind == 'snapshot':
            work.run('qemu-img', 'snapshot', '-c', 's', 'base')
            b.snapshots['s'] = b.disk
            add_bitmaps(work, rng, b)
    disks = [b.disk]
    for i in range(2):
        disk = change(disks[-1], random_writes(rng, len(disks[-1]), 6))
        if kind in ('raw', 'grown'):
            disk = (disk + some_bytes(rng, 70000 // 512 * 512)) if i == 0 else disk[:MiB // 2]
        delta(work, 'd%d' % i, 'qcow2' if i else 'raw+map', disks[-1], disk, ident(i), ident(i - 1) if i else '-', 4096)
        disks.append(disk)
    written = ranges_or(dirty_of(disks[0], disks[1], 4096), dirty_of(disks[1], disks[2], 4096))
    return b, disks, written


KILL_CALLS = CALLS + ('unlink', 'openat')


def traced(work, argv, strace):
    env = qtool.strace_environment()
    words = ['strace', '-f', *strace, qtool.QCBM, *argv]
    work.note(' '.join(words))
    return subprocess.run(words, cwd=work.dir, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=qtool.COMMAND_TIMEOUT)


def calls_of(work, argv):
    done = traced(work, argv, ['-o', 'trace', '-e', 'trace=' + ','.join(KILL_CALLS)])
    require_equal(done.returncode, 0, 'traced: ' + done.stderr)
    with open(work.path('trace')) as f:
        names = [line.split('(')[0].split()[-1] for line in f if '(' in line]
    return [(c, n) for c in KILL_CALLS for n in range(1, names.count(c) + 1)]


def sample(points, count):
    """So many of them, spread over all; those behind which a state begins or ends among them."""
    points = [p for p in points if p[0] != 'openat']
    return points[::max(1, len(points) // count)]


def case_kills(work, kind, count, seed):
    b, disks, written = kill_base(work, kind, seed)
    back = keep(work)
    argv = ['apply', '--in-place', 'base', 'd0', 'd1']
    points = calls_of(work, argv)
    require_base(work, b, disks[-1], written, 'not killed')
    seen = set()
    for call, n in sample(points, count):
        back()
        done = traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n)])
        require(done.returncode in (-9, 137), 'killed at %s %d: exit code %d: %s' % (call, n, done.returncode, done.stderr))
        judge_killed(work, b, disks, written, argv, 'killed at %s %d' % (call, n), seen)
    for call, n in sample([p for p in points if p[0] in ERRORS], count // 3):
        back()
        done = traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e',
                                   'inject=%s:error=%s:when=%d' % (call, ERRORS[call][0], n)])
        what = '%s %d fails' % (call, n)
        require_equal((done.returncode, done.stdout), (1, ''), what)
        require(ERRORS[call][1] in done.stderr and done.stderr.count('\n') == 1, '%s\n  stderr: %s' % (what, done.stderr))
        judge_killed(work, b, disks, written, argv, what, seen)
    require('resumed' in seen and (count < 100 or 'between' in seen), 'seen: %r' % seen)


def judge_killed(work, b, disks, written, argv, what, seen):
    """Sound, of a state that is said; and the same command makes it whole."""
    half = os.path.exists(work.path('base.qcbm-apply'))
    if b.fmt == 'qcow2':
        done = work.run('qemu-img', 'check', '-f', 'qcow2', '--output=json', 'base', rc=None)
        told = json.loads(done.out)
        require(not told.get('corruptions') and not told.get('check-errors'), what + ': ' + done.out)
    if not half:
        require(content(work, 'base', b.fmt) in disks, what + ': no state file, and neither state')
        seen.add('between')
    elif b.fmt == 'qcow2':
        work.qcbm_refused('bitmap', '--add', 'base', 'x', says=['base.qcbm-apply'], unchanged=['base'])
    told = json.loads(apply(work, *argv[1:]).out)
    if told['resumed']:
        seen.add('resumed')
    got = content(work, 'base', b.fmt)
    require(got == disks[-1], what + ', and gone on with: content')
    if b.fmt == 'qcow2':  # not even leaks
        work.check('base')
    for name, then in b.snapshots.items():
        require(content(work, 'base', 'qcow2', name) == then, what + ': snapshot')
    dirty = served_dirty(work, 'base', list(b.bitmaps))
    for name, (on, g, was) in b.bitmaps.items():
        want = ranges_or(was, ranges_outward(written, g, len(disks[-1]))) if on else was
        require_equal(dirty[name], want, what + ': bitmap ' + name)
    require(not os.path.exists(work.path('base.qcbm-apply')), what + ': state file is left')


def case_restored(work, kind):
    """A backup is copied over what a kill left, its state file stays: nothing counts as done because that says so."""
    b, disks, written = kill_base(work, kind, 3)
    back = keep(work)
    argv = ['apply', '--in-place', 'base', 'd0']
    points = calls_of(work, argv)
    files = ['base'] + (['base.data'] if kind == 'data file' else [])
    back()
    for name in files:
        shutil.copy(work.path(name), work.path(name + '.backup'))
    seen = set()
    for call, n in sample(points, 12) + points[-4:]:
        back()
        traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n)])
        if not os.path.exists(work.path('base.qcbm-apply')):
            continue
        for name in files:
            shutil.copyfile(work.path(name + '.backup'), work.path(name))
        what = 'killed at %s %d, and restored' % (call, n)
        seen.add(json.loads(apply(work, *argv[1:]).out)['resumed'])
        require_disk(work, 'base', b.fmt, disks[1], what)
    require(True in seen, 'none was gone on with')


def leak_cluster(work, name):
    """The cluster behind the end counted once, and used by nothing: perhaps what a lost table had."""
    with open(work.path(name), 'r+b') as f:
        header = f.read(104)
        bits, table = struct.unpack('>I', header[20:24])[0], struct.unpack('>Q', header[48:56])[0]
        f.seek(table)
        block = struct.unpack('>Q', f.read(8))[0]
        end = f.seek(0, os.SEEK_END)
        cluster = (end + (1 << bits) - 1) >> bits
        f.truncate((cluster + 1) << bits)
        f.seek(block + 2 * cluster)
        f.write(struct.pack('>H', 1))


def case_restored_with_leaks(work):
    """Leaks that a backup has are not those that the kill left: they are kept, it may have lost a table."""
    _, disks, _ = kill_base(work, 'grown', 3)
    argv = ['apply', '--in-place', 'base', 'd0']
    back = keep(work)
    points = calls_of(work, argv)
    back()
    shutil.copy(work.path('base'), work.path('backup'))
    leak_cluster(work, 'backup')
    for call, n in reversed(points):
        back()
        traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n)])
        if os.path.exists(work.path('base.qcbm-apply')):
            break
    shutil.copyfile(work.path('backup'), work.path('base'))
    require(json.loads(apply(work, *argv[1:]).out)['resumed'], 'not gone on with')
    require(content(work, 'base', 'qcow2') == disks[1], 'the disk is another one')
    found = json.loads(work.run('qemu-img', 'check', '-f', 'qcow2', '--output=json', 'base', rc=3).out)
    require_equal(found['leaks'], 1, 'the leak of the backup')


def case_rolled_back(work):
    """The id stays in the header when the disk is taken back to a snapshot, and when a guest writes."""
    rng = random.Random(5)
    disks = [rng.randbytes(MiB)]
    for i in range(2):
        disks.append(change(disks[-1], [(64 * KiB * (i + 1), rng.randbytes(4096), 4096)]))
        delta(work, 'd%d' % i, 'qcow2', disks[i], disks[i + 1], ident(i), ident(i - 1) if i else '-', 4096)
    put(work, 'plain', disks[0])
    work.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'plain', 'base')
    work.run('qemu-img', 'snapshot', '-c', 's', 'base')
    apply(work, '--in-place', 'base', 'd0')
    work.run('qemu-img', 'snapshot', '-a', 's', 'base')
    for options in ['--in-place', 'base', 'd0'], ['--in-place', 'base', 'd0', 'd1'], ['-o', 'new', 'base', 'd0', 'd1']:
        refused(work, 'does not hold what that has at guest 0x', *options)


def case_probes(work):
    """Data that begins in the middle of a granule; and data behind the end of a disk that is shorter."""
    work.create('disk', '8M')
    work.io('disk', 'write -q -P 7 512k 64k', 'write -q -P 8 4608k 256k')
    shutil.copy(work.path('disk'), work.path('base'))
    work.run('qemu-img', 'bitmap', '--add', '-g', '1M', 'disk', 'b')
    work.io('disk', 'write -q -P 1 2M 64k')
    work.qcbm('delta', '--bitmap', 'b', 'disk', 'd')
    told = json.loads(apply(work, '-o', 'new', 'base', 'd').out)['deltas'][0]
    require_equal(told['probes'], 2 + 5, 'probes: two of data in the middle of granules, and all that is zeros')
    work.run('qemu-img', 'compare', 'new', 'disk')
    work.io('base', 'write -q -P 9 4800k 4k')
    refused(work, 'not the one', '--in-place', 'base', 'd')
    shutil.copy(work.path('disk'), work.path('other'))  # where this has zeros, another has data
    work.io('other', 'write -q -P 9 3M 1M', 'write -q -P 9 6M 2M')
    refused(work, 'not the one', '--in-place', 'other', 'd', unchanged=('other',))
    work.run('qemu-img', 'resize', '-q', '--shrink', 'base', '4M')
    refused(work, 'leaves alone what is at guest 0x4bffff', '--in-place', 'base', 'd')


def case_part_of_sector(work):
    """A raw file that ends within a sector, of which QEMU's disk has all: written like any other, and no further."""
    rng = random.Random(7)
    disk = rng.randbytes(MiB - 300) + bytes(300)
    tail = (MiB - 512, rng.randbytes(512), 512)
    news = {'elsewhere': change(disk, [(4096, rng.randbytes(512), 512)]), 'tail': change(disk, [tail]),
            'zeros': change(disk, [(MiB - 512, None, 512)]), 'grown': change(disk, [tail]) + rng.randbytes(1024),
            'empty': change(disk, [(MiB - 4096, None, 4096)]) + bytes(512)}
    for name, new in news.items():
        delta(work, name, 'raw+map', disk, new, ident(0), '-', 512)
        for at in None, 2, 4, 5:  # where a kill cuts it short
            put(work, 'base', disk[:MiB - 300])
            if at:
                traced(work, ['apply', '--in-place', 'base', name],
                       ['-o', '/dev/null', '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:signal=KILL:when=%d' % at])
            apply(work, '--in-place', 'base', name)
            what = '%s, killed at %s' % (name, at)
            require_disk(work, 'base', 'raw', new, what)
            size = os.path.getsize(work.path('base'))
            require_equal(size, len(new) if name in ('tail', 'grown', 'empty') else MiB - 300, what + ': the file')
            require_equal(json.loads(apply(work, '--in-place', 'base', name).out)['already'], 1, what)
        qtool.patch(work.path('base'), size - 1, bytes([new[size - 1] ^ 1]))
        if name in ('tail', 'zeros', 'grown', 'empty'):
            refused(work, 'does not hold|written to since', '--in-place', '--base-id', ident(0), 'base', name)
        work.run('rm', '-f', 'base.qcbm-id', 'new')
        put(work, 'base', disk[:MiB - 300])
        apply(work, '-o', 'new', 'base', name)
        require_disk(work, 'new', 'raw', new, name + ': into a new file')


def case_dry_run(work):
    """A dry run with -o answers for a new file: bitmaps of the base do not keep that from being larger."""
    rng = random.Random(3)
    disk = rng.randbytes(MiB)
    new = disk + rng.randbytes(512)
    delta(work, 'd', 'raw+map', disk, new, ident(0), '-', 512)
    put(work, 'plain', disk)
    work.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'plain', 'base')
    work.run('qemu-img', 'bitmap', '--add', 'base', 'b')
    refused(work, 'bitmaps of the old size', '--in-place', '--dry-run', 'base', 'd')
    told = json.loads(apply(work, '--dry-run', '-o', 'fresh', 'base', 'd').out)
    require_equal((told['applied'], told['virtual-size']), (1, len(new)), 'dry run')
    require(not os.path.exists(work.path('fresh')), 'a dry run made a file')
    apply(work, '-o', 'fresh', 'base', 'd')
    require_disk(work, 'fresh', 'qcow2', new, 'fresh')


def delta_of_bitmap(work, name, old, size, writes, own=ident(0), parent=None):
    """Of a disk that QEMU resized: what it did not write behind the old end is not in its bitmap. Returns the disk."""
    put(work, 'old', old)
    work.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'old', 'grown')
    work.run('qemu-img', 'bitmap', '--add', '-g', '512', 'grown', 'b')
    work.run('qemu-img', 'resize', '-q', 'grown', size)
    write_io(work, 'qcow2', 'grown', writes)
    work.qcbm('delta', '-q', '-O', 'raw+map', '--bitmap', 'b', '--id', own, *(['--parent-id', parent] if parent else []), 'grown',
              name)
    told = json.loads(work.qcbm('delta', '--info', '--output=json', name).out)
    require(told['data-bytes'] + told['zero-bytes'] < 64 * KiB, 'the delta has what nobody wrote: %r' % told)
    return content(work, 'grown', 'qcow2')


def raw_data_file(work, disk, behind):
    """An image whose raw data file is longer than its disk."""
    put(work, 'base.data', disk)
    work.qcbm('attach', '--data', 'base.data', 'base')
    with open(work.path('base.data'), 'ab') as f:
        f.write(behind)


def require_data_file(work, disk, what):
    require_disk(work, 'base', 'qcow2', disk, what)
    with open(work.path('base.data'), 'rb') as f:
        require(f.read() == disk, what + ': raw data file')
    work.qcbm('attach', '--verify', 'base')


def case_raw_data_file(work):
    """A larger disk is what the delta says also for who reads the data file; a smaller one has none of the rest."""
    rng = random.Random(9)
    disk = rng.randbytes(MiB)
    large = delta_of_bitmap(work, 'large', disk, 2 * MiB, [(MiB + 300 * KiB, rng.randbytes(512), 512)])
    small = change(disk[:300 * KiB], [(0, rng.randbytes(512), 512)])
    for name, new, behind in ('large', large, rng.randbytes(MiB)), ('small', small, b''):
        if name == 'small':
            delta(work, name, 'raw+map', disk, new, ident(0), '-', 512)
        argv = ['apply', '--in-place', 'base', name]
        work.run('rm', '-f', 'base', 'base.data')
        raw_data_file(work, disk, behind)
        back = keep(work)
        points = calls_of(work, argv)
        require_data_file(work, new, name)
        for call, n in [p for p in points if p[0] in ('fdatasync', 'ftruncate')]:
            back()
            put(work, 'base.data', disk + behind)
            traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e',
                                'inject=%s:signal=KILL:when=%d' % (call, n)])
            apply(work, *argv[1:])
            require_data_file(work, new, '%s, killed at %s %d' % (name, call, n))


def case_grown_already(work):
    """What is behind the old end is not trusted because it is there when an apply goes on."""
    rng = random.Random(11)
    disk = rng.randbytes(MiB)
    for i, records in enumerate([[], [(4096, rng.randbytes(512), 512)]]):
        new = delta_of_bitmap(work, 'd%d' % i, disk, 2 * MiB, records + [(MiB + 600 * KiB, rng.randbytes(512), 512)])
        argv = ['apply', '--in-place', 'base', 'd%d' % i]
        for junk in MiB, MiB + 400 * KiB, 2 * MiB - 1:
            seen = set()
            for n in range(2, 40):
                put(work, 'base', disk)
                done = traced(work, argv, ['-o', '/dev/null', '-e', 'trace=fdatasync', '-e',
                                           'inject=fdatasync:signal=KILL:when=%d' % n])
                if done.returncode == 0:
                    break
                if not os.path.exists(work.path('base.qcbm-apply')):
                    continue
                put(work, 'base', change(change(disk + bytes(MiB), records), [(junk, b'x', 1)]))
                seen.add(json.loads(apply(work, *argv[1:]).out)['resumed'])
                require_disk(work, 'base', 'raw', new, 'killed at %d, junk at %d' % (n, junk))
            require(True in seen, 'none was gone on with')


def case_zeros_from(work):
    """From where on a delta by a bitmap says that what it does not have is zeros: behind the last byte that is left alone."""
    rng = random.Random(17)
    one = rng.randbytes(512)
    for i, (old, size, writes) in enumerate([
            (rng.randbytes(MiB), MiB, []), (rng.randbytes(MiB) + bytes(2 * MiB), 3 * MiB, []), (bytes(MiB), MiB, [(0, one, 512)]),
            (rng.randbytes(4096) + bytes(5 * MiB), 9 * MiB, [(512, one, 512), (8 * MiB, one, 512)]),
            (rng.randbytes(3 * MiB), 3 * MiB, [(3 * MiB - 512, one, 512), (2 * MiB - 512, one, 512)]),
            (bytes(2 * MiB) + one[:100] + bytes(MiB - 100), 64 * MiB, [(40 * MiB, one, 512)]),
            (one + bytes(MiB - 512), MiB, [(0, one, 512)])]):
        new = delta_of_bitmap(work, 'z%d' % i, old, size, writes)
        left = change(new, [(start, None, length) for start, _, length in writes]).rstrip(b'\0')
        with open(work.path('z%d.json' % i)) as f:
            told = json.load(f)
        require_equal((told.get('zeros-from'), told.get('size-before')), (-(-len(left) // 512) * 512, None), 'z%d' % i)
    for name in 'meta', 'raw':  # what is allocated and a hole of its file is not read: it may be terabytes
        if name == 'meta':
            work.create('meta', '256G', 'preallocation=metadata')
        else:
            with open(work.path('disk.raw'), 'wb') as f:
                f.truncate(256 << 30)
            work.qcbm('attach', '--data', 'disk.raw', 'raw')
        work.io(name, 'write -q -P 7 3G 64k', 'write -q -z 5G 64k')
        work.run('qemu-img', 'bitmap', '--add', name, 'b')
        work.qcbm('delta', '-q', '-O', 'raw+map', '--bitmap', 'b', name, 'd-' + name)
        with open(work.path('d-%s.json' % name)) as f:
            require_equal(json.load(f)['zeros-from'], (3 << 30) + 64 * KiB, name)


def foreign_diff(work, name, size, writes):
    """A stream of rbd that says nothing of the disk before."""
    with open(work.path(name), 'wb') as f:
        f.write(b'rbd diff v1\nt' + struct.pack('<I', 5) + b'after' + b's' + struct.pack('<Q', size))
        for start, data, length in writes:
            f.write(b'w' + struct.pack('<QQ', start, length) + data)
        f.write(b'e')


def case_device(work):
    """A device that is longer than its disk: what lies behind the old end is no part of the new disk, whether the delta knows the old
    size or not, and what lies behind the new end is left alone."""
    rng = random.Random(13)
    disk, junk = rng.randbytes(MiB), rng.randbytes(2 * MiB)
    grown = delta_of_bitmap(work, 'd0', disk, 2 * MiB, [(MiB + 300 * KiB, rng.randbytes(512), 512)])
    more = delta_of_bitmap(work, 'd1', grown, 5 * MiB // 2, [(0, rng.randbytes(512), 512)], ident(1), ident(0))
    known = change(disk, [(4096, rng.randbytes(512), 512)])
    delta(work, 'known', 'raw+map', disk, known, ident(2), '-', 512)
    foreign_diff(work, 'foreign', MiB, [(4096, known[4096:4608], 512)])
    put(work, 'room', disk + junk)

    def holds(device, new, what):
        with open(device, 'rb') as f:
            got = f.read()
        require_equal(len(got), 3 * MiB, what)
        require(got[:len(new)] == new, '%s: the disk' % what)
        require(got[len(new):] == (disk + junk)[len(new):], '%s: what is behind it' % what)

    def begin(device):
        work.run('rm', '-f', 'st.qcbm-id', 'st.qcbm-apply', 'new', 'new.qcbm-id')
        with open(device, 'wb') as f:
            f.write(disk + junk)

    with qtool.loop_device(work, 'room') as device:
        if not device:
            return
        in_place = ['apply', '--in-place', '--state', 'st', '-f', 'raw', device]
        for names, new in (['d0'], grown), (['d0', 'd1'], more), (['known'], known):
            begin(device)
            apply(work, *in_place[1:], *names)
            holds(device, new, '%s' % names)
            require_equal(json.loads(apply(work, *in_place[1:], *names).out)['already'], len(names), 'again')
            begin(device)
            apply(work, '-f', 'raw', '-o', 'new', device, *names)
            require_disk(work, 'new', 'raw', new, '%s, into a new file' % names)
        begin(device)
        apply(work, *in_place[1:], 'd0')
        apply(work, *in_place[1:], 'd1')
        holds(device, more, 'one by one')
        for n in range(2, 60):
            begin(device)
            done = traced(work, in_place + ['d0', 'd1'], ['-o', '/dev/null', '-e', 'trace=fdatasync', '-e',
                                                          'inject=fdatasync:signal=KILL:when=%d' % n])
            apply(work, *in_place[1:], 'd0', 'd1')
            holds(device, more, 'killed at %d' % n)
            if done.returncode == 0:
                break
        begin(device)
        for words in in_place, ['apply', '-f', 'raw', '-o', 'new', device]:
            refused(work, 'how large the disk was', *words[1:], '--force-parent', 'foreign', unchanged=[device])
    put(work, 'base', disk[:MiB // 2])  # of which the delta leaves alone what is not there
    refused(work, 'leaves alone what is at guest 0xfffff', '--in-place', '--force-parent', 'base', 'd0')
    put(work, 'base', disk)
    apply(work, '--in-place', '--force-parent', 'base', 'foreign')
    require_disk(work, 'base', 'raw', known, 'a file has the size of its disk')


def case_damaged_half(work):
    """Neither apply nor check -r goes on; what is said to be the way is one."""
    b, disks, written = kill_base(work, 'snapshot', 3)
    argv = ['apply', '--in-place', 'base', 'd0']
    back = keep(work)
    calls = [n for call, n in calls_of(work, argv) if call == 'pwrite64']
    back()
    traced(work, argv, ['-o', '/dev/null', '-e', 'trace=pwrite64', '-e', 'inject=pwrite64:signal=KILL:when=%d' % calls[-4]])
    with open(work.path('base'), 'r+b') as f:
        f.seek(40)
        l1 = int.from_bytes(f.read(8), 'big')
        f.seek(l1)
        entry = int.from_bytes(f.read(8), 'big')
        f.seek(l1)
        f.write((entry ^ 512).to_bytes(8, 'big'))
    work.qcbm_refused('check', '-r', 'all', 'base', says=['in part'], file=None, unchanged=['base'])
    refused(work, 'delete the .qcbm-apply file', *argv[1:])
    require('delete the .qcbm-apply file' in work.qcbm('check', '--explain', 'base', rc=None).err, 'check --explain')
    os.unlink(work.path('base.qcbm-apply'))
    work.qcbm('check', '-r', 'all', '--force', 'base', rc=None)
    apply(work, '--in-place', '--force-parent', 'base', 'd0')


def case_kills_new(work, count):
    b, disks, _ = kill_base(work, 'snapshot', 5)
    argv = ['apply', '-o', 'fresh', 'base', 'd0', 'd1']
    points = calls_of(work, argv)
    require_disk(work, 'fresh', 'qcow2', disks[-1], 'not killed')
    for call, n in sample(points, count):
        if os.path.exists(work.path('fresh')):
            os.unlink(work.path('fresh'))
        done = traced(work, argv, ['-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n)])
        require(done.returncode in (-9, 137), 'killed at %s %d: exit code %d' % (call, n, done.returncode))
        if os.path.exists(work.path('fresh')):
            require_disk(work, 'fresh', 'qcow2', disks[-1], 'killed at %s %d, and there' % (call, n))
        else:
            apply(work, *argv[1:])
            require_disk(work, 'fresh', 'qcow2', disks[-1], 'killed at %s %d, and again' % (call, n))


# ---- a disk that is half applied ---------------------------------------------------------------------------------

def case_half(work, kind):
    """Who reads it is told; what would be made of it is refused."""
    kill_base(work, kind, 3)
    argv = ['apply', '--in-place', 'base', 'd0', 'd1']
    back = keep(work)
    calls = [n for call, n in calls_of(work, argv) if call == 'pwrite64']
    back()
    traced(work, argv, ['-o', '/dev/null', '-e', 'trace=pwrite64', '-e', 'inject=pwrite64:signal=KILL:when=%d' % calls[len(calls) // 2]])
    require(os.path.exists(work.path('base.qcbm-apply')), 'no state file')
    fmt = 'raw' if kind == 'raw' else 'qcow2'
    os.symlink('base', work.path('link'))
    says = ['in part', 'base.qcbm-apply']
    for name in 'base', 'link':
        for words in ['info', '-f', fmt, name], ['info', name], ['measure', '-f', fmt, '-O', 'qcow2', name], ['map', '-f', fmt, name]:
            done = work.qcbm(*words)
            require(all(t in done.err for t in says), '%s: not told: %s' % (words, done.err))
        require('delta applied in part: yes' in work.qcbm('info', '-f', fmt, name).out, 'info')
        require_equal(json.loads(work.qcbm('info', '-f', fmt, '--output=json', name).out).get('delta-applied-in-part'), True, 'info: JSON')
        work.qcbm_refused('manifest', '-f', fmt, '-o', 'm', name, says=says, file=None, unchanged=['base'])
        for way in ['-o', 'new', '--dry-run'], ['-o', 'new']:
            work.qcbm_refused('apply', *way, '--force-parent', '-f', fmt, name, 'd1', says=['in part'], file=None, unchanged=['base'])
    if fmt == 'raw':
        work.qcbm_refused('attach', '--data', 'link', 'meta.qcow2', says=says, file=None, unchanged=['base'])
        return
    work.create('over', MiB, '', 'link', 'qcow2')
    work.create('lost', MiB, '', 'link', 'qcow2')
    work.run('qemu-img', 'bitmap', '--add', 'lost', 'b')
    qtool.patch(work.path('lost'), Qcow2(work.path('lost')).directory_offset + 12, (3).to_bytes(4, 'big'))
    work.create('other', MiB)
    work.qcbm('manifest', '-o', 'whole', 'other')
    require_equal(json.loads(work.qcbm('check', '--output=json', 'base', rc=None).out).get('delta-applied-in-part'), True, 'check: JSON')
    require('in part' in work.qcbm('check', 'base', rc=None).err, 'check')
    told = work.qcbm('check', '--explain', 'base', rc=None).err
    require("run the same 'qcbm apply --in-place' again" in told, 'check --explain')
    require('in part' in work.qcbm('extents', 'base', '--output=json', '--with=zero', '--layer').err, 'extents')
    for words in (['delta', '--layer', 'base', 'x'], ['delta', '--layer', '--dry-run', 'base', 'x'], ['delta', '--layer', '-O', 'rbd-diff', 'link', '-'],
                  ['delta', '--layer', 'over', 'x'], ['synth', '--dry-run', 'base', 'x'], ['synth', '--since', 'base', 'over', 'x'],
                  ['synth', '--refine=content', 'over', 'x'], ['bitmap', '--add', '--dry-run', 'base', 'x'], ['check', '-r', 'all', '--dry-run', 'base'],
                  ['manifest', '-o', 'm', 'over'], ['synth', '--against', 'whole', 'over', 'x'],
                  ['bitmap', '--revive', '--against', 'whole', 'lost', 'b'],
                  ['synth', '--refine', '--refine-against', 'whole', 'over', 'x'],
                  ['apply', '-o', 'new', 'over', 'd0'], ['apply', '-o', 'new', 'base', 'd0']):
        work.qcbm_refused(*words, says=['in part'], file=None, unchanged=['base', 'over'])
    require(not os.path.exists(work.path('x')), 'a delta was made')
    apply(work, *argv[1:])
    for words in ['info', 'link'], ['check', 'base']:
        require('in part' not in work.qcbm(*words, rc=None).err, 'behind it')
    work.qcbm('delta', '--layer', 'over', 'x')


def main():
    args = arguments('deltas applied to disks', seeds=16, first=0)
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'strace')
    count = 1000 if args.full else 12
    cases = [(case_kills, 'kills: %s%s' % (kind, ' %d' % n if n else ''), {'kind': kind, 'count': count, 'seed': len(kind) + n})
             for n in range(4 if args.full else 1) for kind in ('raw', 'snapshot', 'grown', 'data file')]
    cases += [(case_half, 'half: ' + kind, {'kind': kind}) for kind in ('raw', 'snapshot')]
    cases += [(case_restored, 'restored: ' + kind, {'kind': kind}) for kind in ('raw', 'grown', 'data file')]
    cases += [(case_probes, 'probes', {})]
    cases += [(case_dry_run, 'dry run', {})]
    cases += [(case_part_of_sector, 'part of a sector', {}), (case_raw_data_file, 'raw data file', {}),
              (case_grown_already, 'grown already', {}), (case_device, 'device', {}),
              (case_zeros_from, 'zeros from', {})]
    cases += [(case_damaged_half, 'damaged half', {})]
    cases += [(case_restored_with_leaks, 'restored: leaks', {}), (case_rolled_back, 'rolled back', {})]
    cases += [(case_kills_new, 'kills: new', {'count': count})]
    cases += [(case_seed, 'seed %d' % n, {'seed': args.seed + n}) for n in range(args.first, args.first + args.seeds)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
