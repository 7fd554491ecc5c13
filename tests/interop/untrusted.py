#!/usr/bin/env python3
# untrusted.py - images made to harm whoever looks at them: each class of docs/hostile-images.md, and what comes of it
#
# SPDX-License-Identifier: MIT
#
# Every command on every image ends within seconds of CPU time (2 on an idle machine) and 256 MiB of address space (more
# under sanitizers), with the exit code that is expected, and without opening another file. QCBM_FIGURES=FILE appends
# the CPU time of each. With --full also variants of the largest images.

import json
import os
import re
import resource
import signal
import struct
import subprocess

from qtool import (EXT_BITMAPS, EXT_DATA_FILE, EXT_LUKS, GiB, KiB, MiB, TiB, Qcow2, arguments, copy_sparse,
                   digest, need_tools, patch, require, require_equal, rewrite_first_cluster, run_cases,
                   set_feature_bits, shorten)
import hostile
import qtool

IMAGE = 'image.qcow2'
CPU_SECONDS, MEMORY = 2, 256 * MiB
COPIED = 1 << 63

# ---- making images ------------------------------------------------------------------------------------------------

FIELDS = {'version': (4, '>I'), 'backing_offset': (8, '>Q'), 'backing_size': (16, '>I'), 'cluster_bits': (20, '>I'),
          'size': (24, '>Q'), 'crypt': (32, '>I'), 'l1_size': (36, '>I'), 'l1_offset': (40, '>Q'),
          'reftable_offset': (48, '>Q'), 'reftable_clusters': (56, '>I'), 'nb_snapshots': (60, '>I'),
          'snapshots_offset': (64, '>Q'), 'incompatible': (72, '>Q'), 'compatible': (80, '>Q'), 'autoclear': (88, '>Q'),
          'refcount_order': (96, '>I'), 'header_length': (100, '>I'), 'compression_type': (104, '>B')}


def set_fields(path, **values):
    for name, value in values.items():
        offset, form = FIELDS[name]
        patch(path, offset, struct.pack(form, value))


def append(path, data, length=None):
    """Put data behind the end, at a cluster's start. length: of the room, which is a hole behind the data."""
    cluster = Qcow2(path).cluster_size
    at = -(-os.path.getsize(path) // cluster) * cluster
    with open(path, 'r+b') as f:
        f.seek(at)
        f.write(data)
        f.truncate(at + -(-max(len(data), length or 0) // cluster) * cluster)
    return at


def words(*values):
    return struct.pack('>%dQ' % len(values), *values)


def plain(work, size=64 * MiB, options='', io=('write -P 1 0 64k',)):
    work.create(IMAGE, size, options)
    if io:
        work.io(IMAGE, *io)
    return work.path(IMAGE)


def dirent(name, table_offset, table_size, granularity=16, flags=2, kind=1, extra=0):
    entry = struct.pack('>QIIBBHI', table_offset, table_size, flags, kind, granularity, len(name), extra) + name
    return entry + bytes(-len(entry) % 8)


def put_bitmaps(path, entries, count=None):
    """A bitmap directory with these entries, in place of what is there."""
    raw = b''.join(entries)
    at = append(path, raw)
    extensions = [e for e in Qcow2(path).extensions if e[0] != EXT_BITMAPS]
    payload = struct.pack('>IIQQ', len(entries) if count is None else count, 0, len(raw), at)
    rewrite_first_cluster(path, extensions + [(EXT_BITMAPS, payload)])
    set_feature_bits(path, 'autoclear', 1)


def snapshot_entry(l1_offset, l1_size, ident=b'1', name=b's'):
    entry = struct.pack('>QIHHIIQII', l1_offset, l1_size, len(ident), len(name), 0, 0, 0, 0, 24)
    entry += struct.pack('>QQQ', 0, 64 * MiB, (1 << 64) - 1) + ident + name
    return entry + bytes(-len(entry) % 8)


def put_snapshots(path, entries):
    raw = b''.join(entries)
    set_fields(path, nb_snapshots=len(entries), snapshots_offset=append(path, raw))


# ---- running with limits --------------------------------------------------------------------------------------------

def is_sanitized():
    with open(qtool.QCBM, 'rb') as f:
        return b'__asan_init' in f.read()


def set_limits(cpu, memory):
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bounded(work, *argv, rc=None):
    """As Work.qcbm(), within the limits, of which the time is doubled for a machine that has other work: a shared core
    counts more of it. The sanitizers take address space at will, and several times the time."""
    cpu, memory = (16 * CPU_SECONDS, 0) if is_sanitized() else (2 * CPU_SECONDS, MEMORY)
    line = 'qcbm ' + ' '.join(argv)
    work.note(line)
    with open(work.path('out'), 'w+b') as out, open(work.path('err'), 'w+b') as err:
        process = subprocess.Popen([qtool.QCBM, *argv], cwd=work.dir, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   preexec_fn=lambda: set_limits(cpu, memory))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for f in (out, err):
            f.seek(0)
            texts.append(f.read(4 * MiB).decode('utf-8', 'surrogateescape'))  # there may be hundreds
    code = process.returncode
    text = '\n  stdout: %s\n  stderr: %s' % tuple(map(shorten, texts))
    require(code != -signal.SIGXCPU, '%s\n  took more than %d s of CPU time' % (line, cpu))
    require(code >= 0, '%s\n  died of signal %d%s' % (line, -code, text))
    require('Sanitizer' not in texts[1] and 'runtime error:' not in texts[1], line + text)
    require('out of memory' not in texts[1], line + text)
    require(re.search(r'[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]', ''.join(texts)) is None, line + '\n  raw bytes' + text)
    allowed = (rc,) if isinstance(rc, int) else rc
    require(allowed is None or code in allowed, '%s\n  exit code %d, expected %r%s' % (line, code, rc, text))
    if os.environ.get('QCBM_FIGURES'):
        with open(os.environ['QCBM_FIGURES'], 'a') as f:
            f.write('%s: %.2f s: %s\n' % (os.path.basename(work.dir), usage.ru_utime + usage.ru_stime, line))
    return qtool.Result(code, texts[0], texts[1], b'')


OPENING = 'open,openat,openat2,creat,connect,socket,execve,execveat,fork,vfork,clone,clone3'
HARMLESS_OPENS = re.compile(r'"(/etc/ld\.so\.(cache|preload)|/etc/localtime|/usr/share/zoneinfo/.*|/proc/self/.*|/dev/null'
                            r'|.*/lib[^/"]*\.so[.0-9]*)"')


def require_one_file(work, *argv):
    """By strace, and outside the sandbox: it is the program that opens nothing, not the kernel that refuses."""
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
    line = ['strace', '-f', '-qq', '-e', 'signal=none', '-e', 'trace=' + OPENING, '-o', 'trace', qtool.QCBM, *argv,
            '--no-sandbox']
    work.note(' '.join(line))
    subprocess.run(line, cwd=work.dir, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=300)
    with open(work.path('trace')) as f:
        calls = [c for c in f.read().splitlines() if c]
    opened = [c for c in calls if 'execve("%s"' % qtool.QCBM not in c and not HARMLESS_OPENS.search(c)]
    require(any('"%s"' % IMAGE in c for c in opened), 'the trace does not show the image: %r' % calls)
    others = [c for c in opened if '"%s"' % IMAGE not in c]
    require(not others, '%s opens more than the image: %s' % (' '.join(argv), '\n'.join(others)))


def is_large(work):
    """Then each kind of output once is enough."""
    return os.stat(work.path(IMAGE)).st_blocks * 512 > 4 * MiB or os.path.getsize(work.path(IMAGE)) > GiB


def verdict(work, expected, rc=2):
    result = bounded(work, 'check', '--untrusted', '--output=json', IMAGE, rc=rc)
    data = json.loads(result.out)
    require_equal((data['filename'], data['verdict']), (IMAGE, 'not-harmless' if rc else 'harmless'), 'verdict')
    codes = [r['code'] for r in data['reasons']]
    require_equal(len(set(codes)), len(codes), 'each code once')
    require(set(expected) <= set(codes) and bool(codes) == bool(rc), 'reasons: %r, expected %r' % (data, expected))
    require(all(r['message'] and '\n' not in r['message'] for r in data['reasons'] + data['notes']), 'messages: %r' % data)
    if is_large(work):
        return data
    human = bounded(work, 'check', '--untrusted', IMAGE, rc=rc).out.splitlines()
    require_equal(human[0], '%s: %s' % (IMAGE, data['verdict']), 'the first line')
    require_equal(len(human), 1 + len(codes) + len(data['notes']), 'lines')
    return data


# what a command must answer; None is any of the codes it has
ANSWERS = {'info': 0, 'check': (0, 2, 3), 'map': (0, 1), 'list': 0, 'dump': 0, 'snapshots': 0}


def look(work, reasons, answers=None, strace=False):
    """All that reads, on the image of this case."""
    codes = {**ANSWERS, **(answers or {})}
    large = is_large(work)
    was = None if large else digest(work.path(IMAGE))
    verdict(work, reasons)
    for argv, key in ((['info', IMAGE], 'info'), (['info', '--output=json', '--usage', IMAGE], 'info'),
                      (['check', IMAGE], 'check'), (['check', '--output=json', IMAGE], 'check'),
                      (['map', IMAGE], 'map'), (['map', '--output=json', IMAGE], 'map'),
                      (['bitmap', '--list', IMAGE], 'list'), (['snapshot', '-l', IMAGE], 'snapshots'),
                      (['dump', IMAGE, 'header'], 'dump'), (['dump', IMAGE, 'extensions'], None),
                      (['dump', IMAGE, 'bitmaps'], None), (['dump', IMAGE, 'l2'], None),
                      (['synth', '--dry-run', IMAGE, 'n'], None),
                      (['bitmap', '--add', '--dry-run', IMAGE, 'n'], None),
                      (['bitmap', '--prune', '*', '--dry-run', '-q', IMAGE], None)):
        if large and (argv in (['info', '--output=json', '--usage', IMAGE], ['map', IMAGE]) or
                      argv[0] in ('check', 'dump') and '--output=json' not in argv and argv[-1] != 'bitmaps'):
            continue
        result = bounded(work, *argv, rc=codes[key] if key else (0, 1))
        if argv[:2] == ['info', '--output=json'] and result.code == 0:
            json.loads(result.out)
    if strace:
        for argv in (['info'], ['check'], ['check', '--untrusted'], ['bitmap', '--list'], ['snapshot', '-l'], ['dump']):
            require_one_file(work, *argv, IMAGE, *(['extensions'] if argv == ['dump'] else []))
    require(was is None or digest(work.path(IMAGE)) == was, 'reading wrote')


# ---- names of other files ---------------------------------------------------------------------------------------------

BACKING = {  # name, format, codes beside backing-file, exit code of map and of the chain
    'plain-file': (b'/etc/passwd', b'raw', [], 0),
    'json': (b'json:{"driver":"file","filename":"/etc/passwd"}', b'raw', ['name-protocol'], 1),
    'nbd': (b'nbd://127.0.0.1:1/export', b'raw', ['name-protocol'], 1),
    'nbd-unix': (b'nbd+unix:///export?socket=/tmp/socket', b'raw', ['name-protocol'], 1),
    'http': (b'http://127.0.0.1:1/image', b'qcow2', ['name-protocol'], 1),
    'ssh': (b'ssh://host/image', b'qcow2', ['name-protocol'], 1),
    'host-device': (b'host_device:/dev/null', b'raw', ['name-protocol'], 1),
    'file-protocol': (b'file:/etc/passwd', b'raw', ['name-protocol'], 0),
    'device': (b'/dev/zero', b'raw', ['name-device'], 1),
    'file-device': (b'file:/dev/zero', b'raw', ['name-device', 'name-protocol'], 1),
    'kernel': (b'/proc/self/mem', b'raw', ['name-device'], None),
    'fifo': (b'fifo', b'raw', [], 1),
    'socket': (b'socket', b'raw', [], 1),
    'folder': (b'.', b'raw', [], 1),
    'itself': (IMAGE.encode(), b'qcow2', [], 1),
    'no-format': (b'base', None, ['backing-format-missing'], 1),
    'foreign-format': (b'base', b'vmdk', [], 1),
}


def case_backing(work, name, kind, codes, followed):
    path = plain(work, 4 * MiB)
    os.mkfifo(work.path('fifo'))
    os.mknod(work.path('socket'), 0o140600)
    with open(work.path('base'), 'wb') as f:
        f.write(b'QFI\xfb'.ljust(64 * KiB, b'\1'))
    rewrite_first_cluster(path, ([(0xe2792aca, kind)] if kind else []), backing=name)
    strace = name in (b'/etc/passwd', b'fifo') or name.startswith((b'json', b'nbd:'))
    look(work, ['backing-file', *codes], {'map': followed, 'check': 0}, strace)
    bounded(work, 'info', '--backing-chain', IMAGE, rc=followed)


def case_loop(work):
    """Of two images, and of many: found before anything is opened twice."""
    for k in range(30):
        work.create('layer%d' % k if k else IMAGE, MiB)
    for k in range(30):
        rewrite_first_cluster(work.path('layer%d' % k if k else IMAGE), [(0xe2792aca, b'qcow2')],
                              backing=b'layer%d' % (k + 1) if k < 29 else IMAGE.encode())
    for argv in (['map'], ['info', '--backing-chain'], ['measure', '-O', 'qcow2']):
        result = bounded(work, *argv, IMAGE, rc=1)
        require('loop' in result.err, result.err)
    look(work, ['backing-file'], {'map': 1, 'check': 0})


def case_deep(work):
    """More layers than are followed."""
    for k in range(210):
        name = 'layer%d' % k if k else IMAGE
        if k == 0:
            work.create(IMAGE, MiB)
            rewrite_first_cluster(work.path(IMAGE), [(0xe2792aca, b'qcow2')], backing=b'layer1')
        else:
            copy_sparse(work.path(IMAGE), work.path(name))
            rewrite_first_cluster(work.path(name), [(0xe2792aca, b'qcow2')], backing=b'layer%d' % (k + 1))
    require('deeper than' in bounded(work, 'map', IMAGE, rc=1).err, 'depth')
    require('deeper than' in bounded(work, 'info', '--backing-chain', IMAGE, rc=1).err, 'depth')


DATA_FILE = {'plain': b'/etc/passwd', 'json': b'json:{"driver":"file","filename":"/etc/passwd"}',
             'nbd': b'nbd://127.0.0.1:1/x', 'device': b'/dev/zero', 'fifo': b'fifo'}


def case_data_file(work, name, flagged):
    """Also where the bit is missing that says that there is one."""
    path = plain(work, 4 * MiB, io=())
    os.mkfifo(work.path('fifo'))
    rewrite_first_cluster(path, [(EXT_DATA_FILE, name)])
    if flagged:
        set_feature_bits(path, 'incompatible', 4)
    codes = ['data-file'] + (['name-protocol'] if b':' in name else []) + (['name-device'] if b'/dev' in name else [])
    look(work, codes, strace=name.startswith(b'json'))


# ---- header ---------------------------------------------------------------------------------------------------------------

BAD_HEADERS = {
    'cluster-bits-8': {'cluster_bits': 8}, 'cluster-bits-22': {'cluster_bits': 22}, 'cluster-bits-64': {'cluster_bits': 64},
    'cluster-bits-largest': {'cluster_bits': 0xffffffff}, 'refcount-order-7': {'refcount_order': 7},
    'refcount-order-64': {'refcount_order': 64}, 'refcount-order-largest': {'refcount_order': 0xffffffff},
    'version-0': {'version': 0}, 'version-4': {'version': 4}, 'version-largest': {'version': 0xffffffff},
    'header-length-0': {'header_length': 0}, 'header-length-103': {'header_length': 103},
    'header-length-past-cluster': {'header_length': 65544}, 'header-length-largest': {'header_length': 0xfffffff8},
    'crypt-3': {'crypt': 3}, 'size-2^63': {'size': 1 << 63}, 'size-largest': {'size': (1 << 64) - 1},
    'l1-too-small': {'l1_size': 0}, 'l1-too-large': {'l1_size': 0x400001}, 'l1-size-largest': {'l1_size': 0xffffffff},
    'l1-unaligned': {'l1_offset': 196608 + 512}, 'l1-offset-largest': {'l1_offset': (1 << 64) - 65536},
    'l1-offset-2^63': {'l1_offset': 1 << 63}, 'l1-offset-wraps': {'l1_offset': (1 << 63) - 65536, 'l1_size': 0x400000},
    'reftable-too-large': {'reftable_clusters': 129}, 'reftable-largest': {'reftable_clusters': 0xffffffff},
    'reftable-unaligned': {'reftable_offset': 65536 + 512}, 'reftable-offset-2^63': {'reftable_offset': 1 << 63},
    'snapshots-too-many': {'nb_snapshots': 65537, 'snapshots_offset': 65536},
    'snapshots-largest': {'nb_snapshots': 0xffffffff, 'snapshots_offset': 65536},
    'snapshots-unaligned': {'nb_snapshots': 1, 'snapshots_offset': 65536 + 8},
    'backing-name-long': {'backing_offset': 4096, 'backing_size': 1024},
    'backing-name-outside': {'backing_offset': (1 << 64) - 8, 'backing_size': 16},
    'backing-name-largest': {'backing_offset': 4096, 'backing_size': 0xffffffff},
    'incompatible-unknown': {'incompatible': 1 << 40}, 'incompatible-top': {'incompatible': 1 << 63},
    'compression-unknown': {'incompatible': 8, 'compression_type': 2},
}


def case_bad_header(work, fields):
    """Nothing is computed with such numbers: one line, and dump shows them."""
    path = plain(work)
    set_fields(path, **fields)
    data = verdict(work, [])
    code = 'feature-incompatible' if fields.get('incompatible', 0) > 31 else 'header'
    require_equal([r['code'] for r in data['reasons']], [code], 'reason')
    for argv in (['info', IMAGE], ['check', IMAGE], ['map', IMAGE], ['bitmap', '--list', IMAGE], ['snapshot', '-l', IMAGE]):
        argv += ['-f', 'qcow2']  # version 0 would be raw
        require_equal(bounded(work, *argv, rc=1).err.count('\n'), 1, 'lines of ' + argv[0])
    bounded(work, 'dump', IMAGE, 'header', rc=(0, 1))


def case_not_qcow2(work, content):
    with open(work.path(IMAGE), 'wb') as f:
        f.write(content)
    bounded(work, 'check', '--untrusted', IMAGE, rc=2 if content[:4] == b'QFI\xfb' else 63)
    bounded(work, 'info', '-f', 'qcow2', IMAGE, rc=1)
    bounded(work, 'info', IMAGE, rc=1 if len(content) == 8 else 0)  # without a version it is raw, for QEMU too


def case_no_verdict(work):
    """Neither harmless nor not: the file cannot be read."""
    plain(work)
    os.mkfifo(work.path('fifo'))
    for name in ('missing', 'fifo', '.', '/dev/zero'):
        result = bounded(work, 'check', '--untrusted', name, rc=1)
        require(result.out == '' and result.err.count('\n') == 1, result.out + result.err)
    bounded(work, 'check', '--untrusted', '-f', 'raw', IMAGE, rc=1)
    require_equal(bounded(work, 'check', '--untrusted', '-q', IMAGE, rc=0).out, '', 'quiet')


FEATURES = {'compatible': ({'compatible': 1 << 33}, ['feature-compatible']),
            'autoclear': ({'autoclear': 1 << 12}, ['feature-autoclear'])}


def case_features(work, fields, codes):
    set_fields(plain(work), **fields)
    look(work, codes, {'check': 0})


def case_extensions(work):
    """2 MiB of them, of no length each; honest ones are notes."""
    path = plain(work, options='cluster_size=2M')
    rewrite_first_cluster(path, [(0x11111111, b'12345678')])
    data = verdict(work, [], rc=0)
    require_equal([r['code'] for r in data['notes']], ['unknown-extension'], 'notes')
    patch(path, 112, struct.pack('>II', 0x22222222, 0) * ((2 * MiB - 112) // 8 - 1))
    data = verdict(work, [], rc=0)
    require(data['notes'][0]['count'] > 200000, 'count of %r' % data)
    bounded(work, 'info', IMAGE, rc=0)
    bounded(work, 'dump', IMAGE, 'extensions', rc=0)
    bounded(work, 'synth', '--dry-run', IMAGE, 'n', rc=(0, 1))


def case_luks(work, extension):
    """LUKS without its header extension, and with one that leads nowhere."""
    path = plain(work, io=())
    set_fields(path, crypt=2)
    if extension:
        rewrite_first_cluster(path, [(EXT_LUKS, struct.pack('>QQ', *extension))])
    data = verdict(work, [])
    for argv in (['info', IMAGE], ['check', IMAGE], ['dump', IMAGE, 'header'], ['bitmap', '--list', IMAGE]):
        bounded(work, *argv, rc=(0, 1, 2))
    require(data['reasons'], 'no reasons')


# ---- sizes and sharing ------------------------------------------------------------------------------------------------

def case_virtual_size(work, size, codes):
    path = plain(work, options='cluster_size=2M', io=())
    set_fields(path, size=size, l1_size=-(-size // (512 * GiB)))
    patch(path, Qcow2(path).l1_offset, bytes(8))
    verdict(work, codes)
    bounded(work, 'info', IMAGE)
    bounded(work, 'map', IMAGE)


def case_l1_unneeded(work):
    """32 MiB of zeros for a disk of 64 MiB."""
    path = plain(work)
    set_fields(path, l1_size=0x400000, l1_offset=append(path, b'', 32 * MiB))
    look(work, ['table-size'])


def case_reftable_unneeded(work):
    path = plain(work)
    set_fields(path, reftable_clusters=128, reftable_offset=append(path, b'', 8 * MiB))
    look(work, ['table-size'])


def case_reftable_all_one_block(work):
    """A million entries of the refcount table, one refcount block."""
    path = plain(work)
    block = Qcow2(path).words(Qcow2(path).reftable_offset, 1)[0]
    set_fields(path, reftable_clusters=128, reftable_offset=append(path, words(block) * MiB))
    look(work, ['table-size', 'refblock-refcount'], {'check': (1, 2)})


def case_reftable_all_one_block_sparse(work):
    """The same under a file so long that all of the table is needed: 2^31 leaked clusters."""
    path = plain(work, options='cluster_size=8k')
    block = append(path, struct.pack('>H', 1) * 4096)
    set_fields(path, reftable_clusters=1024, reftable_offset=append(path, words(block) * MiB))
    os.truncate(path, 15 * TiB)
    look(work, ['file-size', 'refblock-refcount'], {'check': (1, 2)})


def case_l1_one_l2(work, entries, extra):
    """All L1 entries lead to one L2 table, which is full: 2^35 guest clusters from 32 MiB."""
    path = plain(work, size=64 * MiB, io=('write -P 1 0 64M',))
    image = Qcow2(path)
    table = image.words(image.l1_offset, 1)[0]
    set_fields(path, size=entries * 512 * MiB, l1_size=entries, l1_offset=append(path, words(table) * entries))
    patch(path, (table & ~COPIED) + 8 * 1024, words(COPIED | 5 * 65536) * (8192 - 1024))
    if extra:
        patch(path, (table & ~COPIED) + 8 * 4000, words(extra))
    look(work, ['cluster-two-owners'], {'check': (1, 2), 'map': 1})
    bounded(work, 'dump', IMAGE, 'l1', '0-100', rc=0)


def case_snapshots_one_l1(work, count, entries):
    """All snapshots have one L1 table, each entry of it one L2 table."""
    path = plain(work)
    image = Qcow2(path)
    table = image.words(image.l1_offset, 1)[0]
    l1 = append(path, words(table) * entries)
    put_snapshots(path, [snapshot_entry(l1, entries, b'%d' % k) for k in range(count)])
    look(work, ['cluster-two-owners'], {'check': (1, 2)})
    bounded(work, 'dump', IMAGE, 'snapshots', rc=0)


def case_snapshots_l1_holes(work):
    """65536 snapshots with 32 MiB of L1 table each, all of them holes."""
    path = plain(work)
    start = append(path, b'', 65536 * 64 * KiB)
    put_snapshots(path, [snapshot_entry(start + k * 65536, 0x400000, b'%d' % k) for k in range(65536)])
    look(work, ['cluster-two-owners'], {'check': (2, 1)})


def case_compressed_one_blob(work):
    """Each guest cluster is the same compressed data."""
    path = plain(work, size=512 * MiB, io=('write -c -P 1 0 64k',))
    image = Qcow2(path)
    place = image.l2_place(0)
    patch(path, place, words(image.words(place, 1)[0]) * 8192)
    look(work, ['compressed-shared', 'compression-ratio'], {'check': (1, 2), 'map': (0, 1)})


def case_compressed_overlapping(work):
    """The same, one byte further each time, so that no two are equal."""
    path = plain(work, size=4 * GiB, options='cluster_size=2M', io=('write -c -P 1 0 2M',))
    image = Qcow2(path)
    place = image.l2_place(0)
    word = image.words(place, 1)[0]
    patch(path, place, words(*[word + k for k in range(2048)]))
    require('compressed-shared' not in verdict(work, ['refcount-too-low']), 'codes')


def case_compressed_honest(work):
    """Small pieces side by side, and snapshots that share them, are not held against an image."""
    path = plain(work, size=4 * MiB, options='cluster_size=4k', io=())
    work.io(IMAGE, *['write -c -P %d %dk 4k' % (k % 250, 4 * (k * 7 % 64)) for k in range(64)])
    for name in ('s1', 's2'):
        work.run('qemu-img', 'snapshot', '-c', name, IMAGE)
    work.io(IMAGE, 'write -c -P 9 1M 4k')
    verdict(work, [], rc=0)
    bounded(work, 'check', IMAGE, rc=0)
    require(path, 'path')


def case_refblock_far(work, offset, codes):
    """No file is made longer to reach it, no memory taken by its offset."""
    path = plain(work)
    image = Qcow2(path)
    patch(path, image.reftable_offset + 8, words(offset))
    look(work, codes, {'check': 2})


def case_far_entries(work, word, answers, codes):
    """L1 and L2 entries with numbers that wrap."""
    for which in ('l1', 'l2'):
        path = plain(work)
        image = Qcow2(path)
        patch(path, image.l1_offset if which == 'l1' else image.l2_place(0) + 8, words(word))
        look(work, codes, answers)


def case_sparse(work, length, codes, cluster):
    """A file that says to be endless. There are file systems that do not go so far."""
    path = plain(work, options='cluster_size=%d' % cluster)
    os.truncate(path, length)
    verdict(work, codes)
    for argv in (['info', '--usage', IMAGE], ['map', IMAGE], ['bitmap', '--list', IMAGE], ['dump', IMAGE, 'header'],
                 ['dump', IMAGE, 'refcounts']):
        bounded(work, *argv, rc=0)
    bounded(work, 'check', IMAGE, rc=(0, 1))


def case_sparse_tables(work):
    """Full L1, refcount table, snapshots and bitmaps, each as long as may be, all of it in holes; the file has 16 TiB."""
    path = plain(work)
    l1, refs = append(path, b'', 32 * MiB), append(path, b'', 8 * MiB)
    table = append(path, b'', 8 * 8192 * 64)
    set_fields(path, size=1 << 51, l1_size=0x400000, l1_offset=l1, reftable_offset=refs, reftable_clusters=128)
    put_bitmaps(path, [dirent(b'b%d' % k, table, 8192 * 64, 9, 3) for k in range(65535)])
    put_snapshots(path, [snapshot_entry(l1, 0x400000, b'%d' % k) for k in range(65536)])
    os.truncate(path, 15 * TiB)
    look(work, ['bitmap-size'], {'check': (1, 2)})


# ---- bitmaps --------------------------------------------------------------------------------------------------------------

def case_bitmap_huge(work, size, flags, options):
    """In use, more bits than QEMU's assertion allows, or 8 GiB of memory for them; and the consistent twin."""
    path = plain(work, options=options, io=())
    set_fields(path, size=size, l1_size=-(-size // (512 * GiB)), l1_offset=append(path, b'', 8 * MiB))
    put_bitmaps(path, [dirent(b'huge', append(path, b'', 64 * KiB), 8192, 9, flags)])
    look(work, ['bitmap-size'], {'check': (0, 2)})
    bounded(work, 'extents', IMAGE, 'huge', rc=1)
    if flags & 1:
        bounded(work, 'bitmap', '--remove', '--dry-run', IMAGE, 'huge', rc=(0, 1))


def case_bitmaps_one_table(work, entries):
    """65535 bitmaps, one table, which is full."""
    path = plain(work, size=entries * 32 * GiB, io=())
    data = append(path, b'\x55' * (64 * KiB))
    table = append(path, words(data) * entries)
    put_bitmaps(path, [dirent(b'b%d' % k, table, entries) for k in range(65535)])
    look(work, ['bitmap-table-shared'], {'check': (1, 2)})
    bounded(work, 'extents', IMAGE, 'b1', rc=1)


def case_bitmaps_one_data(work, count):
    """A table for each bitmap, and one cluster of bits for all of them."""
    path = plain(work, size=32 * GiB, options='cluster_size=4k', io=())
    data = append(path, b'\x55' * 4 * KiB)
    tables = append(path, (words(data) * 16).ljust(4 * KiB, b'\0') * count)
    put_bitmaps(path, [dirent(b'b%d' % k, tables + k * 4 * KiB, 16) for k in range(count)])
    look(work, ['cluster-two-owners'], {'check': 2})


def case_bitmaps_in_holes(work, full):
    """As many bitmaps as may be, with tables as long as may be in holes of the file; and real tables that name holes."""
    path = plain(work, size=TiB if full else 128 * GiB, options='' if full else 'cluster_size=512', io=())
    if full:
        tables = append(path, b''.join(words(*[(1 << 40) + (k * 8192 + i) * 65536 for i in range(512)]).ljust(65536, b'\0') for k in range(160)))
        put_bitmaps(path, [dirent(b'b%d' % k, tables + k * 65536, 512, 12) for k in range(160)])
        os.truncate(path, 2 * TiB)
    else:
        put_bitmaps(path, [dirent(b'b%d' % k, GiB + (k << 19), 1 << 16, 9) for k in range(65535)])
        os.truncate(path, GiB + (65535 << 19))
    look(work, [], {'check': (0, 1, 2)})
    bounded(work, 'extents', IMAGE, 'b7', rc=0)


class Raw:
    """A file by hand, mostly holes: header, refcount table and L1 are set; the rest is put where the case says."""

    def __init__(self, work, bits, size, l1, reftable, refcount_order=4):
        self.path, self.cs = work.path(IMAGE), 1 << bits
        header = struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 0, 0, bits, size, 0, l1[1], l1[0], reftable[0],
                             reftable[1], 0, 0, 0, 0, 0, refcount_order, 104)
        with open(self.path, 'wb') as f:
            f.write(header)

    def put(self, at, data):
        patch(self.path, at, data)

    def bitmaps(self, entries, at):
        raw = b''.join(entries)
        self.put(at, raw)
        self.put(88, words(1))
        self.put(104, struct.pack('>IIIIQQ', EXT_BITMAPS, 24, len(entries), 0, len(raw), at))


def case_tables_scattered(work):
    """Each L2 table lies in a hole in another stretch of 16 MiB: half a megabyte of L1, a file of a terabyte."""
    n, stretch = 65000, 16 * MiB
    raw = Raw(work, 9, n * 32 * KiB, (MiB, n), (512, 1))
    raw.put(MiB, words(*[COPIED | (i + 1) * stretch for i in range(n)]))
    os.truncate(raw.path, (n + 2) * stretch)
    look(work, [], {'check': 2})


def scattered_bitmaps(work, bits, order, n, each, blocks):
    """Bitmaps whose clusters of data are each counted by another refcount block; all else is counted by the first one.
    n: bitmaps; each: clusters of data of one; blocks: of refcounts, enough for them and for what is there."""
    cs, per = 1 << bits, (1 << bits) * 8 >> order
    size = each * cs * 8 << 9
    table = -(-8 * blocks // cs)  # clusters of the refcount table
    l1 = -(-size * 8 // cs // cs)  # entries
    tables = 1 + table + -(-8 * l1 // cs)  # the first table of a bitmap, in clusters; L1 before it
    room = -(-8 * each // cs)
    directory = tables + n * room
    first = directory + -(-32 * n // cs)  # the first refcount block
    own = -(-(first + blocks) // per)  # blocks that count what is there
    raw = Raw(work, bits, size, ((1 + table) * cs, l1), (cs, table), order)
    raw.put(cs, words(*[(first + i) * cs for i in range(blocks)]))
    for i in range(n):
        raw.put((tables + i * room) * cs, words(*[(own + i * each + k) * per * cs for k in range(each)]))
    raw.bitmaps([dirent(b'b%05d' % i, (tables + i * room) * cs, each, 9) for i in range(n)], directory * cs)
    one = struct.pack({4: '>H', 6: '>Q'}[order], 1)
    raw.put(first * cs, one * (first + blocks))
    for i in range(blocks - own):
        raw.put((first + own + i) * cs, one)
    os.truncate(raw.path, (blocks * per + 1) * cs)


def case_refblocks_scattered(work):
    """8193 refcount blocks of 64 KiB, of all but one a few bytes: half a gigabyte of blocks, terabytes of file."""
    scattered_bitmaps(work, 16, 6, 32, 256, 8195)
    result = bounded(work, 'bitmap', '--prune', '*', '--dry-run', IMAGE, rc=0)
    require_equal(re.search(r'(\d+) freed', result.out).group(1), str(32 * (256 + 1) + 1), 'clusters freed')
    bounded(work, 'bitmap', '--add', '--dry-run', IMAGE, 'n', rc=0)


def case_refcounts_scattered(work):
    """More places of refcounts would change than are kept in memory; fewer bitmaps at once are no matter."""
    scattered_bitmaps(work, 9, 6, 70, 1000, 72000)
    told = bounded(work, 'bitmap', '--prune', '*', '--dry-run', IMAGE, rc=1).err
    require('fewer' in told, told)
    bounded(work, 'bitmap', '--prune', 'b0000*', '--dry-run', '-q', IMAGE, rc=0)


def case_names_alike(work):
    """16000 names that begin with the same 952 bytes, with extra data, which QEMU refuses and qcbm keeps."""
    n = 16000
    raw = Raw(work, 9, MiB, (200 * KiB, 32), (512, 3))
    entries = [struct.pack('>QIIBBHI', 512 * (1000 + i), 1, 6, 1, 16, 960, 8) + bytes(8) + b'a' * 952 + b'%08d' % i
               for i in range(n)]
    clusters = 1000 + n + len(entries[0]) * n // 512 + 1
    raw.put(512, words(*[512 * (10 + i) for i in range(-(-clusters // 256))]))
    raw.put(512 * 10, b'\0\1' * clusters)
    raw.bitmaps(entries, 512 * (1000 + n))
    os.truncate(raw.path, 512 * clusters)
    bounded(work, 'bitmap', '--add', '--dry-run', '-q', IMAGE, 'n', rc=0)
    bounded(work, 'bitmap', '--prune', '*', '--keep=1', '--dry-run', '-q', IMAGE, rc=0)
    bounded(work, 'bitmap', '--remove', '--dry-run', '-q', IMAGE, 'a' * 952 + '00015999', rc=0)


def case_directory_largest(work):
    """64 MiB of directory: names and extra data as long as may be, and none valid."""
    path = plain(work, io=())
    put_bitmaps(path, [dirent(b'%04d' % k + b'n' * 1019, 65536, 1) for k in range(63000)])
    look(work, ['bitmap-table-shared'], {'check': 2})


EXTRA = {'wraps': 0xffffffe8, 'largest': 0xffffffff, 'sign': 0x80000000, 'past-the-end': 4096}


def case_dirent_extra(work, extra):
    path = plain(work, io=())
    put_bitmaps(path, [dirent(b'good', append(path, bytes(8)), 1), dirent(b'bad', 65536, 1, extra=extra)])
    look(work, ['bitmap-directory-broken'], {'check': 2})


# ---- two owners of one cluster --------------------------------------------------------------------------------------------

def first_l2(image):
    return image.words(image.l1_offset, 1)[0] & ~COPIED


OVERLAPS = {
    'l2-is-header': lambda p, i: patch(p, i.l1_offset, words(COPIED)) or patch(p, i.l1_offset, words(COPIED | 0)),
    'l2-is-l1': lambda p, i: patch(p, i.l1_offset, words(COPIED | i.l1_offset)),
    'l2-is-refcount-table': lambda p, i: patch(p, i.l1_offset, words(COPIED | i.reftable_offset)),
    'data-is-l2': lambda p, i: patch(p, i.l2_place(0), words(COPIED | first_l2(i))),
    'data-is-l1': lambda p, i: patch(p, i.l2_place(0), words(COPIED | i.l1_offset)),
    'data-is-refcount-block': lambda p, i: patch(p, i.l2_place(0), words(COPIED | i.words(i.reftable_offset, 1)[0])),
    'data-twice': lambda p, i: patch(p, i.l2_place(0) + 8, words(i.words(i.l2_place(0), 1)[0])),
    'refcount-block-is-table': lambda p, i: patch(p, i.reftable_offset, words(i.reftable_offset)),
    'refcount-block-is-l1': lambda p, i: patch(p, i.reftable_offset, words(i.l1_offset)),
    'l1-is-refcount-table': lambda p, i: set_fields(p, l1_offset=i.reftable_offset),
    'refcount-table-is-l1': lambda p, i: set_fields(p, reftable_offset=i.l1_offset),
    'snapshots-are-l1': lambda p, i: set_fields(p, nb_snapshots=1, snapshots_offset=i.l1_offset),
    'snapshot-l1-is-l2': lambda p, i: put_snapshots(p, [snapshot_entry(first_l2(i), 8192)]),
    'bitmap-table-is-directory': lambda p, i: put_bitmaps(p, [dirent(b'b', -(-os.path.getsize(p) // 65536) * 65536, 1)]),
    'bitmap-table-is-l1': lambda p, i: put_bitmaps(p, [dirent(b'b', i.l1_offset, 1)]),
    'bitmap-data-is-l2': lambda p, i: put_bitmaps(p, [dirent(b'b', append(p, words(first_l2(i))), 1)]),
    'bitmap-data-is-its-table': lambda p, i: put_bitmaps(p, [dirent(b'b', append(p, words(os.path.getsize(p))), 1)]),
    'bitmap-data-is-l1': lambda p, i: put_bitmaps(p, [dirent(b'b', append(p, words(i.l1_offset)), 1)]),
}


def case_overlap(work, name):
    path = plain(work)
    OVERLAPS[name](path, Qcow2(path))
    work.note('# by hand: ' + name)
    codes = [] if name in ('l2-is-header', 'refcount-block-is-l1', 'snapshots-are-l1') else ['cluster-two-owners']
    look(work, codes, {'check': (1, 2), 'info': (0, 1), 'snapshots': (0, 1)})


# ---- names ------------------------------------------------------------------------------------------------------------------

STRINGS = {'escape': b'a\x1b[2J\x1b]0;title\x07b', 'newline': b'name\nqcbm: all is well', 'return': b'good\rbad',
           'nul': b'one\0two', 'invalid-utf8': b'caf\xe9\xff\xfe', 'overlong': b'\xc0\xaf\xe0\x80\xaf', 'c1': b'a\xc2\x9b31mb',
           'direction': b'exe.\xe2\x80\xaegpj', 'surrogate': b'\xed\xa0\x80'}


def case_strings(work, where, name):
    path = plain(work)
    base = {'l1': Qcow2(path).l1_offset}
    answers, codes = {}, ['name-characters']
    if where == 'backing':
        rewrite_first_cluster(path, [(0xe2792aca, b'raw')], backing=name)
    elif where == 'backing-format':
        rewrite_first_cluster(path, [(0xe2792aca, name[:15])], backing=b'b')
    elif where == 'data-file':
        rewrite_first_cluster(path, [(EXT_DATA_FILE, name)])
        set_feature_bits(path, 'incompatible', 4)
    elif where == 'bitmap':
        put_bitmaps(path, [dirent(name, append(path, bytes(8)), 1), dirent(b'good', append(path, bytes(8)), 1)])
    else:
        ident, title = (name, b'n') if where == 'snapshot-id' else (b'1', name)
        put_snapshots(path, [snapshot_entry(base['l1'], 1, ident, title)])
    if where == 'backing-format' and name == STRINGS['direction']:
        codes = ['backing-file']  # cut within the character, or before it
    look(work, codes, answers)
    bounded(work, 'info', '--backing-chain', IMAGE, rc=(0, 1))


def case_names_longest(work):
    """Snapshots whose ids and names have 65535 bytes, all of them control characters."""
    path = plain(work)
    l1 = Qcow2(path).l1_offset
    put_snapshots(path, [snapshot_entry(l1, 1, b'\x1b' * 65535, b'\x07' * 65535) for _ in range(200)])
    look(work, ['name-characters'], {'check': 2})


# ---- images that QEMU does not open for one bad bitmap entry --------------------------------------------------------------

# defects of hostile.py with which QEMU opens the image all the same
OPENED_BY_QEMU = {'table-past-the-end', 'table-entry-past-the-end', 'in-use', 'name-nul'}


def case_refused_by_qemu(work, defects, extension):
    """info and check work, and name what is wrong."""
    hostile.four_bitmaps(work)
    copy_sparse(work.path(IMAGE), work.path('sound'))
    path = work.path(IMAGE)
    for defect in defects:
        copy_sparse(work.path('sound'), path)
        image = Qcow2(path)
        if extension:
            hostile.EXTENSION_DEFECTS[defect](path, image)
        else:
            hostile.DEFECTS[defect][0](path, image, image.bitmap('second'))
        work.note('# %s anew, and by hand: %s' % (IMAGE, defect))
        refused = work.run('qemu-img', 'info', '-f', 'qcow2', IMAGE, rc=None).code != 0
        require_equal(refused, extension or defect not in OPENED_BY_QEMU, 'refused by qemu-img info')
        if refused:
            named_by_qcbm(work, extension)


def named_by_qcbm(work, extension):
    result = bounded(work, 'info', IMAGE, rc=0)
    require('warning' in result.err and 'bitmap' in result.err.lower(), result.err)
    data = json.loads(bounded(work, 'check', '--output=json', IMAGE, rc=2).out)
    found = [f for f in data['findings'] if f['code'].startswith('bitmap') and f['severity'] == 'corruption']
    require(found and all('offset' in f for f in found), 'findings: %r' % data)
    require(extension or any(f.get('bitmap') == 1 for f in found), 'not of the bad one: %r' % found)
    verdict(work, [found[0]['code']])


def cases_of(full):
    cases = [(case_backing, 'backing-' + k, dict(zip(('name', 'kind', 'codes', 'followed'), v))) for k, v in BACKING.items()]
    cases += [(case_loop, 'chain-loop', {}), (case_deep, 'chain-deep', {}), (case_no_verdict, 'no-verdict', {})]
    cases += [(case_data_file, 'data-file-%s%s' % (k, '' if f else '-unflagged'), {'name': v, 'flagged': f})
              for k, v in DATA_FILE.items() for f in ((True, False) if k == 'json' else (True,))]
    cases += [(case_bad_header, 'header-' + k, {'fields': v}) for k, v in BAD_HEADERS.items()]
    cases += [(case_not_qcow2, 'content-' + k, {'content': v}) for k, v in
              {'empty': b'', 'short': b'QFI', 'magic': b'QFI\xfb', 'cut': b'QFI\xfb\0\0\0\3', 'raw': bytes(1 << 16)}.items()]
    cases += [(case_features, 'feature-' + k, {'fields': v[0], 'codes': v[1]}) for k, v in FEATURES.items()]
    cases += [(case_extensions, 'extensions', {})]
    cases += [(case_luks, 'luks-' + k, {'extension': v}) for k, v in
              {'missing': None, 'past-the-end': (1 << 50, 4096), 'wraps': ((1 << 64) - 65536, 1 << 20), 'empty': (65536, 0),
               'header': (0, 4096)}.items()]
    cases += [(case_virtual_size, 'virtual-size-%d' % s, {'size': s, 'codes': ['virtual-size']}) for s in (1 << 60, 1 << 47)]
    cases += [(case_l1_unneeded, 'l1-unneeded', {}), (case_reftable_unneeded, 'reftable-unneeded', {}),
              (case_reftable_all_one_block, 'reftable-one-block', {}),
              (case_reftable_all_one_block_sparse, 'reftable-one-block-sparse', {})]
    if full:
        cases += [(case_l1_one_l2, 'l1-one-l2', {'entries': 0x400000, 'extra': 0}),
                  (case_snapshots_one_l1, 'snapshots-small-l1', {'count': 65536, 'entries': 8}),
                  (case_bitmaps_one_table, 'bitmaps-one-table-1', {'entries': 1})]
    cases += [(case_l1_one_l2, 'l1-one-l2-reserved', {'entries': 0x400000, 'extra': COPIED | 1 << 58 | 65536 * 9}),
              (case_snapshots_one_l1, 'snapshots-one-l1', {'count': 65536, 'entries': 0x400000}),
              (case_snapshots_l1_holes, 'snapshots-l1-holes', {}),
              (case_compressed_one_blob, 'compressed-one-blob', {}),
              (case_compressed_overlapping, 'compressed-overlapping', {}), (case_compressed_honest, 'compressed-honest', {})]
    cases += [(case_refblock_far, 'refblock-' + k, {'offset': v, 'codes': c}) for k, v, c in
              (('far', 1 << 40, ['refblock-outside']), ('unaligned', 65536 * 3 + 512, ['refblock-unaligned']),
               ('2^63', 1 << 63, ['refblock-outside']), ('reserved', 1, ['reftable-reserved-bits']))]
    cases += [(case_far_entries, 'entry-' + k, {'word': v, 'answers': {'check': 2}, 'codes': c}) for k, v, c in
              (('past-the-end', COPIED | 1 << 39, ['reference-past-end']),
               ('far', COPIED | 1 << 55, ['reference-nowhere']), ('all-bits', (1 << 64) - 1, []), ('reserved', 1 << 57 | 1 << 20, []),
               ('largest', (1 << 56) - 512, []))]
    cases += [(case_sparse, 'sparse-%s' % k, {'length': v, 'codes': c, 'cluster': s}) for k, v, c, s in
              (('512-byte-clusters', 15 * TiB, ['too-many-clusters', 'file-size'], 512),
               ('64k', 15 * TiB, ['file-size'], 65536), ('2M', 15 * TiB, ['file-size'], 2 * MiB))]
    cases += [(case_sparse_tables, 'sparse-tables', {})]
    cases += [(case_bitmap_huge, 'bitmap-huge-%s-%d' % (k, f), {'size': v, 'flags': f, 'options': 'cluster_size=2M'})
              for k, v in (('2^51', 1 << 51), ('2^45', 1 << 45)) for f in (3, 2)]
    cases += [(case_bitmaps_one_table, 'bitmaps-one-table-8192', {'entries': 8192}),
              (case_bitmaps_one_data, 'bitmaps-one-data', {'count': 20000}), *[(case_bitmaps_in_holes, 'bitmaps-in-holes-%d' % f, {'full': f}) for f in (False, True)],
              (case_directory_largest, 'directory-largest', {}), (case_tables_scattered, 'tables-scattered', {}),
              (case_refblocks_scattered, 'refblocks-scattered', {}), (case_refcounts_scattered, 'refcounts-scattered', {}),
              (case_names_alike, 'names-alike', {})]
    cases += [(case_dirent_extra, 'dirent-extra-' + k, {'extra': v}) for k, v in EXTRA.items()]
    cases += [(case_overlap, 'overlap-' + k, {'name': k}) for k in OVERLAPS]
    cases += [(case_strings, 'name-%s-%s' % (where, k), {'where': where, 'name': v}) for k, v in STRINGS.items()
              for where in ('backing', 'backing-format', 'data-file', 'bitmap', 'snapshot-id', 'snapshot-name')
              if full or k == 'escape' or where in ('backing', 'bitmap', 'snapshot-name')]
    cases += [(case_names_longest, 'names-longest', {})]
    cases += [(case_refused_by_qemu, 'qemu-refuses-entries', {'defects': list(hostile.DEFECTS), 'extension': False}),
              (case_refused_by_qemu, 'qemu-refuses-extension',
               {'defects': list(hostile.EXTENSION_DEFECTS), 'extension': True})]
    return cases


def main():
    args = arguments('images made to harm')
    need_tools('qemu-img', 'qemu-io', 'strace')
    run_cases(args, cases_of(args.full))


if __name__ == '__main__':
    main()
