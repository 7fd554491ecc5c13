#!/usr/bin/env python3
# backup.py - an incremental backup by qemu-storage-daemon from a synthesised bitmap, laid over a copy of the base
#
# SPDX-License-Identifier: MIT
#
# The daemon is driven over QMP: blockdev-backup with sync=bitmap copies what the bitmap of the overlay calls dirty
# into a new image whose backing file is a copy of the base. If the bitmap misses a byte, the two disks differ.

import json
import os
import random
import socket
import subprocess
import time

from qtool import (COMMAND_TIMEOUT, KiB, MiB, Failure, Qcow2, arguments, copy_sparse, default_granularity, digest,
                   need_tools, ranges_minus, ranges_outward, require, require_equal, run_cases)

NAME = 'b0'


class Daemon:
    """qemu-storage-daemon with a QMP socket."""

    def __init__(self, work):
        self.work = work
        self.socket_path = work.path('qmp')
        self.pid_path = work.path('qsd.pid')

    def __enter__(self):
        argv = ['qemu-storage-daemon', '--chardev', 'socket,path=%s,server=on,wait=off,id=m' % self.socket_path,
                '--monitor', 'chardev=m', '--pidfile', self.pid_path]
        self.work.note("qemu-storage-daemon --chardev socket,path=qmp,server=on,wait=off,id=m --monitor chardev=m &")
        self.process = subprocess.Popen(argv, cwd=self.work.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        started = time.monotonic()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(COMMAND_TIMEOUT)
        # It writes its pid when all is set up. Whoever connects before, while the socket exists already, may be greeted
        # twice, or never answered.
        while not (os.path.exists(self.pid_path) and os.path.getsize(self.pid_path) > 0):
            if self.process.poll() is not None or time.monotonic() - started > COMMAND_TIMEOUT:
                self.__exit__()
                raise Failure('qemu-storage-daemon does not listen')
            time.sleep(0.002)
        self.socket.connect(self.socket_path)
        self.stream = self.socket.makefile('r')
        self.message()  # the greeting
        self.call('qmp_capabilities')
        return self

    def __exit__(self, *unused):
        self.socket.close()
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()

    def message(self):
        line = self.stream.readline()
        require(line, 'qemu-storage-daemon closed the connection')
        return json.loads(line)

    def call(self, command, **args):
        request = {'execute': command, 'arguments': {key.replace('_', '-'): value for key, value in args.items()}}
        self.work.note('QMP ' + json.dumps(request))
        self.socket.sendall(json.dumps(request).encode() + b'\n')
        while True:
            answer = self.message()
            if 'event' in answer:
                continue
            require('return' in answer, 'QMP %s: %r' % (command, answer))
            return answer['return']

    def run_job(self, name):
        """Wait until the job has come to its end, and require that it went well."""
        while True:
            job = [j for j in self.call('query-jobs') if j['id'] == name]
            require(job, 'the job is gone')
            if job[0]['status'] == 'concluded':
                break
            time.sleep(0.005)
        require('error' not in job[0], 'the job failed: %r' % job[0])
        self.call('job-dismiss', id=name)

    def add(self, node, filename, fmt='qcow2', read_only=False, **more):
        self.call('blockdev-add', driver=fmt, node_name=node, read_only=read_only,
                  file={'driver': 'file', 'filename': self.work.path(filename)}, **more)

    def recording(self, node, bitmap):
        nodes = [n for n in self.call('query-named-block-nodes', flat=True) if n['node-name'] == node]
        found = [b for b in nodes[0].get('dirty-bitmaps', []) if b['name'] == bitmap]
        require_equal(len(found), 1, 'bitmaps named %s in %s' % (bitmap, node))
        return found[0]


def incremental(work, image, base, base_format, size, granularity, sync='bitmap', read_only=False, disabled=False,
                dirty=None):
    """Back up, by the bitmap, into an image over a copy of the base; the result must be the overlay's disk."""
    work.note('cp %s base.copy' % base)
    copy_sparse(work.path(base), work.path('base.copy'))
    work.create('target.qcow2', size, 'cluster_size=%d' % max(512, min(granularity, 2 * MiB)), 'base.copy', base_format)
    before = digest(work.path(image))
    with Daemon(work) as daemon:
        daemon.add('overlay', image, read_only=read_only)
        daemon.add('target', 'target.qcow2')
        bitmap = daemon.recording('overlay', NAME)
        require_equal((bitmap['granularity'], bitmap['recording'], bitmap.get('inconsistent', False),
                       bitmap['persistent']), (granularity, not disabled, False, True), 'query-named-block-nodes')
        if dirty is not None:  # the count is of whole granules
            whole = ranges_outward(dirty, granularity, size)
            require_equal(bitmap['count'], granularity * sum(-(-end // granularity) - start // granularity
                                                             for start, end in whole), 'dirty bytes by qemu-storage-daemon')
        mode = {'sync': sync, 'bitmap': NAME}
        if sync == 'bitmap':
            mode['bitmap_mode'] = 'never'
        daemon.call('blockdev-backup', job_id='job', device='overlay', target='target', auto_dismiss=False, **mode)
        daemon.run_job('job')
        daemon.call('blockdev-del', node_name='target')
        if sync == 'incremental':
            require_equal(daemon.recording('overlay', NAME)['count'], 0, 'the bitmap after an incremental backup')
        daemon.call('blockdev-del', node_name='overlay')
    work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', image, 'target.qcow2')
    work.check('target.qcow2')
    work.check(image)
    if read_only:
        require(digest(work.path(image)) == before, 'a read-only daemon wrote')
    # the backup holds no more than the bitmap says, so that the comparison above means something; the job copies in
    # pieces of 64 KiB at least
    if dirty is not None:
        require_equal(ranges_minus(work.map_allocated('target.qcow2'),
                                   ranges_outward(dirty, max(granularity, 64 * KiB), size), size), [], 'copied though clean')


SHAPES = {
    # name: (size, base size, overlay options, granularity, writes)
    'plain': (8 * MiB, 8 * MiB, '', None, ['write -P 3 1M 100k', 'write -P 4 5M 3']),
    'zeros': (8 * MiB, 8 * MiB, '', None, ['write -z 0 64k', 'write -z -u 1M 1M', 'discard 3M 128k', 'write -P 1 3M 5k']),
    'compressed': (8 * MiB, 8 * MiB, 'compression_type=zstd', None, ['write -c -P 4 2M 64k', 'write -c -P 5 4M 64k']),
    'subclusters': (8 * MiB, 8 * MiB, 'extended_l2=on,cluster_size=128k', 4 * KiB,
                    ['write -P 3 1M 100', 'write -z 2M 4k', 'write -P 4 5000k 9k', 'discard 6M 128k']),
    'small-clusters': (3 * MiB, 3 * MiB, 'cluster_size=512', 512, ['write -P 3 1000k 700', 'write -z 3k 1k', 'write -P 4 0 1']),
    'coarse-bits': (8 * MiB, 8 * MiB, 'cluster_size=4k', MiB, ['write -P 3 1000k 700', 'write -P 3 7M 1']),
    'odd-size': (MiB + 512, MiB + 512, '', None, ['write -P 3 1M 512', 'write -P 3 4k 4k']),
    'longer': (4 * MiB + 512, MiB + 512, '', None, ['write -P 3 512k 5k', 'write -P 3 2M 5k', 'write -z 3M 64k']),
    'shorter': (2 * MiB + 512, 4 * MiB, '', None, ['write -P 3 512k 5k', 'write -P 3 2M 512']),
    'data-file': (4 * MiB, 4 * MiB, 'data_file=d.raw', None, ['write -P 3 0 5k', 'write -P 3 2M 5k', 'write -z 3M 64k']),
    'nothing': (4 * MiB, 4 * MiB, '', None, []),
    'everything': (4 * MiB, 4 * MiB, '', 4 * KiB, ['write -P 3 0 4M']),
}


def make_shape(work, shape, base_format='qcow2'):
    size, base_size, options, granularity, writes = SHAPES[shape]
    base = 'base.' + base_format
    work.run('qemu-img', 'create', '-q', '-f', base_format, base, base_size)
    work.run('qemu-io', '-f', base_format, '-c', 'write -P 1 0 %d' % (base_size // 2), '-c',
             'write -P 2 %d %d' % (base_size - 700 * 512, 700 * 512), base)
    work.create('overlay.qcow2', size, options, base, base_format)
    if writes:
        work.io('overlay.qcow2', *writes)
    return base, size, granularity


def case_shape(work, shape, base_format, sync):
    base, size, granularity = make_shape(work, shape, base_format)
    work.qcbm('synth', *(['-g', granularity] if granularity else []), 'overlay.qcow2', NAME)
    g = granularity or default_granularity(Qcow2(work.path('overlay.qcow2')).cluster_size)
    incremental(work, 'overlay.qcow2', base, base_format, size, g, sync,
                dirty=work.map_allocated('overlay.qcow2'))


def case_disabled_read_only(work):
    base, size, _ = make_shape(work, 'zeros')
    work.qcbm('synth', '--disabled', 'overlay.qcow2', NAME)
    incremental(work, 'overlay.qcow2', base, 'qcow2', size, 64 * KiB, read_only=True, disabled=True)


def case_two_rounds(work):
    """The bitmap records on: first the synthesised bits, cleared by the backup, then what came since."""
    base, size, _ = make_shape(work, 'plain')
    work.qcbm('synth', 'overlay.qcow2', NAME)
    incremental(work, 'overlay.qcow2', base, 'qcow2', size, 64 * KiB, 'incremental')
    work.run('mv', 'target.qcow2', 'first.qcow2')
    work.io('overlay.qcow2', 'write -P 9 6M 70k', 'write -z 1M 64k')
    work.check('overlay.qcow2')
    work.create('target.qcow2', size, '', 'first.qcow2')
    with Daemon(work) as daemon:
        daemon.add('overlay', 'overlay.qcow2')
        daemon.add('target', 'target.qcow2')
        daemon.call('blockdev-backup', job_id='job', device='overlay', target='target', sync='incremental', bitmap=NAME,
                    auto_dismiss=False)
        daemon.run_job('job')
    require_equal(work.map_allocated('target.qcow2'), [(MiB, MiB + 64 * KiB), (6 * MiB, 6 * MiB + 128 * KiB)],
                  'what the second round copied')
    work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', 'overlay.qcow2', 'target.qcow2')


def case_since(work):
    """Three layers: a bitmap against the lowest, in the top."""
    base, size, _ = make_shape(work, 'zeros')
    work.run('mv', 'overlay.qcow2', 'mid.qcow2')
    work.create('overlay.qcow2', size, 'cluster_size=4k', 'mid.qcow2')
    work.io('overlay.qcow2', 'write -P 7 7M 3k', 'write -z 300k 8k')
    work.qcbm('synth', '--since', base, 'overlay.qcow2', NAME)
    incremental(work, 'overlay.qcow2', base, 'qcow2', size, 4 * KiB)


def case_since_short_layer(work):
    """The layer in the middle is short: what it cuts off must be copied as zeros."""
    size = 2 * MiB
    work.create('base.qcow2', size)
    work.io('base.qcow2', 'write -P 1 0 2M')
    work.create('mid.qcow2', MiB + 512, '', 'base.qcow2')
    work.io('mid.qcow2', 'write -P 2 64k 3k')
    work.create('overlay.qcow2', size, '', 'mid.qcow2')
    work.io('overlay.qcow2', 'write -P 3 512k 3k')
    work.qcbm('synth', '-g', '512', '--since', 'base.qcow2', 'overlay.qcow2', NAME)
    incremental(work, 'overlay.qcow2', 'base.qcow2', 'qcow2', size, 512)


def case_a_missed_bit_shows(work):
    """The proof of this proof: with one dirty granule taken out, the comparison fails."""
    base, size, _ = make_shape(work, 'plain')
    work.qcbm('synth', 'overlay.qcow2', NAME)
    bitmap = Qcow2(work.path('overlay.qcow2')).bitmap(NAME)
    data = [entry for entry in bitmap.table if entry > 1]
    require_equal(len(data), 1, 'data clusters')
    with open(work.path('overlay.qcow2'), 'r+b') as f:
        f.seek(data[0] + 10)  # bit 80: 5 MiB
        require_equal(f.read(1), b'\x01', 'bit of 5 MiB')
        f.seek(data[0] + 10)
        f.write(b'\0')
    try:
        incremental(work, 'overlay.qcow2', base, 'qcow2', size, 64 * KiB)
    except Failure as failure:
        require('Content mismatch at offset 5242880' in str(failure), 'another failure: %s' % failure)
    else:
        raise Failure('a missed bit went unnoticed')


def case_random(work, seed):
    rng = random.Random(seed)
    cluster = rng.choice([512, 4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB])
    size = rng.choice([2 * MiB, 3 * MiB + 512, 5 * MiB + 7 * 512])
    base_size = rng.choice([size, size, size // 2 // 512 * 512, size + MiB])
    base_format = rng.choice(['raw', 'qcow2'])
    base = 'base.' + base_format
    work.run('qemu-img', 'create', '-q', '-f', base_format, base, base_size)
    work.run('qemu-io', '-f', base_format, '-c', 'write -P 1 0 %d' % base_size, base)
    extended = cluster >= 16 * KiB and rng.random() < 0.5
    work.create('overlay.qcow2', size, 'cluster_size=%d%s' % (cluster, ',extended_l2=on' if extended else ''), base,
                base_format)
    commands = []
    for k in range(rng.randrange(1, 12)):
        start = rng.randrange(size)
        length = min(rng.choice([1, 512, 4096, 5000, 70000, 300000]), size - start)
        verb = rng.choice(['write -P %d' % (k + 2)] * 3 + ['write -z', 'write -z -u', 'discard'])
        commands.append('%s %d %d' % (verb, start, length))
    work.io('overlay.qcow2', *commands)
    g = rng.choice([512, 4 * KiB, 64 * KiB, MiB])
    work.qcbm('synth', '-g', g, 'overlay.qcow2', NAME)
    incremental(work, 'overlay.qcow2', base, base_format, size, g, rng.choice(['bitmap', 'incremental']),
                dirty=work.map_allocated('overlay.qcow2'))


CASES = [(case_shape, '%s-%s-%s' % (shape, fmt, sync), {'shape': shape, 'base_format': fmt, 'sync': sync})
         for k, shape in enumerate(SHAPES) for fmt, sync in ((('qcow2', 'raw')[k % 2], 'bitmap'),
                                                             (('raw', 'qcow2')[k % 2], 'incremental'))]
CASES += [
    (case_disabled_read_only, 'disabled-read-only', {}),
    (case_two_rounds, 'two-rounds', {}),
    (case_since, 'since', {}),
    (case_since_short_layer, 'since-short-layer', {}),
    (case_a_missed_bit_shows, 'a-missed-bit-shows', {}),
]


def main():
    args = arguments('incremental backups by qemu-storage-daemon from synthesised bitmaps')
    need_tools('qemu-img', 'qemu-io', 'qemu-storage-daemon')
    cases = list(CASES)
    for k in range(200 if args.full else 25):
        cases.append((case_random, 'random-%d' % k, {'seed': args.seed * 1019 + k}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
