#!/usr/bin/env python3
# nbd.py - images and disks behind NBD servers: the same answers as on the file, and what servers can do to a client
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool, NBD_READ = a user of libqcbm-nbd. Servers: nbdkit, qemu-nbd,
# qemu-storage-daemon, and nbd_server.py, which misbehaves.

import json
import os
import random
import re
import shutil
import subprocess
import time

import grid
import nbd_server
import qtool
from qtool import KiB, MiB, Qcow2, arguments, need_tools, ranges_norm, require, require_equal, run_cases

NBD_READ = os.environ['NBD_READ']
LOCKS = re.compile(r'qcbm: warning: nbd[^ ]*: no lock reaches a server: .*\n')


class Nbdkit:
    """nbdkit on a socket of its own."""

    def __init__(self, work, *words):
        self.work, self.words = work, words
        work.servers += 1
        self.socket, self.pid = work.path('kit%d' % work.servers), work.path('kit%d.pid' % work.servers)

    def __enter__(self):
        argv = ['nbdkit', '-f', '-r', '-U', self.socket, '-P', self.pid, *map(str, self.words)]
        self.work.note(' '.join(argv) + ' &')
        self.process = subprocess.Popen(argv, cwd=self.work.dir, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (os.path.exists(self.pid) and os.path.getsize(self.pid) > 0):
            require(self.process.poll() is None, 'nbdkit ended: ' + self.work.log[-1])
            time.sleep(0.002)
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()

    def uri(self):
        return 'nbd+unix:///?socket=' + self.socket


# ---- the same answers -------------------------------------------------------------------------------------------

def readers(bitmaps, follows):
    """Each way to read an image; @follows: names in it lead nowhere, so the chain may be looked at."""
    ways = [['info', '--output=json'], ['info'], ['check'], ['check', '--output=json'], ['check', '--untrusted'],
            ['dump', '@', 'header'], ['dump', '@', 'extensions'], ['dump', '@', 'l1'], ['dump', '@', 'l2'],
            ['dump', '@', 'refcounts'], ['dump', '@', 'snapshots'], ['dump', '@', 'bitmaps'], ['snapshot', '-l'],
            ['bitmap', '--list'], ['bitmap', '--list', '--output=json'], ['extents', '--layer'],
            ['extents', '--layer', '--output=json'], ['synth', '--dry-run', '--output=json', '@', 'nbd new'],
            ['synth', '--dry-run', '@', 'nbd new']]
    for name in bitmaps:
        ways += [['extents', '@', name], ['bitmap', '--export', '-', '--format=json', '@', name]]
    if follows:
        ways += [['map', '--output=json'], ['map'], ['measure', '-O', 'qcow2', '--output=json'],
                 ['info', '--backing-chain'], ['synth', '--refine', '--dry-run', '--output=json', '@', 'nbd new'],
                 ['manifest', '-q', '-f', 'qcow2', '-o', 'new', '--force', '--digest=sha256', '--output=json']]
    return ways


# What a server does not tell of its file; and where a backing file would be looked for, which is nowhere there.
UNLIKE = {'actual-size', 'elapsed-seconds', 'full-backing-filename', 'children', 'time', 'seed', 'id'}


def pruned(value):
    if isinstance(value, dict):
        return {key: pruned(v) for key, v in value.items() if key not in UNLIKE}
    return [pruned(v) for v in value] if isinstance(value, list) else value


def without_names(text, uri, path):
    """What may differ: the name of the image, the warning of locks, times, and what UNLIKE has."""
    text = re.sub(r'(?m)^qcbm: warning: .*: no lock reaches a server: .*\n', '', text)
    text = re.sub(r"'nbdcopy [^']* COPY' makes a copy here, [^;]*; (cures are for that\n)?", '', text)
    text = re.sub(r'\bCOPY\b', 'IMAGE', text)
    text = text.replace(uri, 'IMAGE').replace(uri.replace('?', '\\?'), 'IMAGE').replace(path, 'IMAGE')
    if text[:1] in '[{' and text[:1]:
        return json.dumps(pruned(json.loads(text)), indent=1, sort_keys=True)
    text = re.sub(r'disk size: .*|, [0-9.]+ s; | \(actual path: .*\)|protocol type: \w+', '', text)
    return text


def require_same(work, way, path, uri):
    own = [path if word == '@' else word for word in way] + ([] if '@' in way else [path])
    far = [uri if word == '@' else word for word in way] + ([] if '@' in way else [uri])
    here, there = work.qcbm(*own, '--no-lock', rc=None), work.qcbm(*far, '--no-lock', rc=None)
    require_equal(there.code, here.code, 'exit code of %r over NBD: %s' % (way, there.err))
    require_equal(without_names(there.out, uri, path), without_names(here.out, uri, path), 'output of %r' % way)
    if way[:2] != ['synth', '--dry-run'] or here.code == 0:
        require_equal(without_names(there.err, uri, path), without_names(here.err, uri, path), 'stderr of %r' % way)


def grid_reads_the_same(work, levels, seed):
    image, _, _, _, bitmaps = grid.make_image(work, levels, random.Random(seed))
    path = work.path(image)
    follows = levels['backing'] == 'none' and levels['store'] == 'plain'
    with Nbdkit(work, 'file', path) as server:
        ways = readers(bitmaps, follows)
        # Holes inside of clusters are looked for where a file looks preallocated, by the blocks that it has, which no server
        # tells. QEMU does not look for them behind a server either.
        if grid.CLUSTER[levels['shape']] > 64 * KiB:
            ways = [way for way in ways if way[0] not in ('map', 'measure')]
        for way in work.some(ways, 10):
            require_same(work, way, path, server.uri())
        if levels['backing'] != 'none':
            result = work.qcbm('map', '--no-lock', server.uri(), rc=1)
            require('comes from a server' in result.err and result.out == '', 'map of an overlay: ' + result.err)


# ---- chains -----------------------------------------------------------------------------------------------------

def make_chain(work):
    """A raw base, and two overlays of which one is longer; names in them lead nowhere from here."""
    os.mkdir(work.path('there'))
    work.run('qemu-img', 'create', '-q', '-f', 'raw', 'there/base.raw', '6M')
    work.run('qemu-io', '-f', 'raw', '-c', 'write -q -P 1 1M 2M', 'there/base.raw')
    for name, size, backing, fmt, writes in (
            ('mid', '8M', 'base.raw', 'raw', ('write -q -P 2 2M 1M', 'write -q -z 3M 64k', 'write -q -P 3 7M 64k')),
            ('top', '8M', 'mid', 'qcow2', ('write -q -P 4 512k 128k', 'write -q -P 2 2M 64k', 'discard -q 1M 64k'))):
        work.create('there/' + name, size, backing=backing, backing_format=fmt)
        work.io('there/' + name, *writes)
    work.run('qemu-img', 'bitmap', '--add', 'there/mid', 'b')
    work.io('there/mid', 'write -q -P 5 4M 64k')


CHAIN_WAYS = (['map', '--output=json'], ['map'], ['measure', '-O', 'qcow2', '--output=json'],
              ['info', '--backing-chain', '--output=json'], ['bitmap', '--list', '--chain', '--output=json'],
              ['extents', '--since', 'MID', '--with=zero'], ['extents', '--since', 'BASE', '--output=json'],
              ['synth', '--dry-run', '--output=json', '--since', 'BASE', '@', 'x'],
              ['synth', '--dry-run', '--output=json', '--refine', '@', 'x'],
              ['synth', '--dry-run', '--output=json', '--dirty-tail', '@', 'x'],
              ['delta', '--dry-run', '--output=json', '--since', 'BASE', '@', 'd'],
              ['picture', '--chain', '--output=json'],
              ['manifest', '-q', '-f', 'qcow2', '--force', '-o', 'm', '--digest=sha256', '--output=json'])


def same_with_chain(work, way, names, uris):
    """names, uris: top, middle, base."""
    def words(images):
        places = dict(zip(('@', 'MID', 'BASE'), images))
        return [places.get(word, word) for word in way] + ([] if '@' in way else [images[0]])
    here = work.qcbm(*words(names), '--no-lock')
    there = work.qcbm(*words(uris), '--no-lock', '--below', uris[1], '--below', uris[2])

    def clean(text, images):
        for n, name in enumerate(images):
            text = without_names(text, name, name).replace('IMAGE', 'LAYER%d' % n)
        return text
    require_equal(clean(there.out, uris), clean(here.out, names), 'output of %r' % way)
    return there


def chains_are_named(work):
    """Commands about the chain, with layers behind servers, here, and mixed."""
    make_chain(work)
    names = ['there/top', 'there/mid', 'there/base.raw']
    with Nbdkit(work, 'file', work.path('there/top')) as top, Nbdkit(work, 'file', work.path('there/mid')) as mid, \
            Nbdkit(work, 'file', work.path('there/base.raw')) as base:
        uris = [top.uri(), mid.uri(), base.uri()]
        for way in CHAIN_WAYS:
            same_with_chain(work, way, names, uris)
        work.qcbm('manifest', '--verify=m', 'there/top')
        for mixed in ([uris[0], names[1], uris[2]], [names[0], uris[1], names[2]], [uris[0], uris[1], names[2]]):
            for way in CHAIN_WAYS[:1] + CHAIN_WAYS[5:9]:
                same_with_chain(work, way, names, mixed)
        one = work.qcbm('map', '--no-lock', '--output=json', '--below', names[1], uris[0])  # names again from there on
        require_equal(one.out, work.qcbm('map', '--output=json', names[0]).out, 'map with one layer named')
        layers = json.loads(work.qcbm('info', '--backing-chain', '--no-lock', '--output=json', '--below', uris[1],
                                      '--below', uris[2], uris[0]).out)
        require_equal([layer['filename'] for layer in layers], uris, 'names of layers')
        wrong_chains(work, names, uris)


def make_chain_of_bitmaps(work):
    """Three layers, each with a bitmap of what was written to it. Copies of it: names in them lead nowhere."""
    for name, backing, write in (('base', None, 'write -P 1 1M 64k'), ('mid', 'base', 'write -P 2 2M 128k'),
                                 ('top', 'mid', 'write -P 3 4M 64k')):
        work.create('there/' + name, '8M', backing=backing)
        work.run('qemu-img', 'bitmap', '--add', 'there/' + name, 'b')
        work.io('there/' + name, write)
    for name in ('base', 'mid', 'top'):
        shutil.copyfile(work.path('there/' + name), work.path(name))
    for name, gone in (('mid', 'no/base'), ('top', 'no/mid')):
        work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', gone, name)


def bitmaps_of_named_layers(work):
    """What they say where the layers are behind servers is what they say where they lie; one file is written."""
    os.mkdir(work.path('there'))
    make_chain_of_bitmaps(work)
    work.qcbm('manifest', '-q', '-o', 'm', '--digest=sha256', 'there/top')
    with Nbdkit(work, 'file', work.path('top')) as top, Nbdkit(work, 'file', work.path('mid')) as mid, \
            Nbdkit(work, 'file', work.path('base')) as base:
        both = ['--no-lock', '--below', mid.uri(), '--below', base.uri()]
        dry = [work.qcbm('bitmap', '--collect', 'b', '--dry-run', '--output=json', *words).out
               for words in (['there/top'], [*both, 'top'], [*both, top.uri()])]
        require_equal([json.loads(text)['dirty-bytes'] for text in dry], 3 * [4 * 64 * KiB], 'collected in a dry run')
        work.qcbm('bitmap', '--collect', 'b', '--as', 'all', 'there/top')
        work.qcbm('bitmap', '--collect', 'b', '--as', 'all', *both, 'top')
        require_equal(dirty(work, 'top', 'all'), dirty(work, 'there/top', 'all'), 'collected')
        work.qcbm('bitmap', '--commit-into', 'there/base', 'there/top')
        work.qcbm('bitmap', '--commit-into', 'base', '--no-lock', '--below', mid.uri(), '--below', 'base', top.uri())
        require_equal(dirty(work, 'base', 'b'), dirty(work, 'there/base', 'b'), 'committed')
        shutil.copyfile(work.path('top'), work.path('copy'))
        work.qcbm('bitmap', '--export', 'bits', 'top', 'all')
        work.qcbm('bitmap', '--import', 'bits', '--check=m', *both, 'copy', 'new')
        require_equal(dirty(work, 'copy', 'new'), dirty(work, 'top', 'all'), 'imported after a look at the disk')
        work.io('there/top', 'write -P 9 6M 64k')
        work.qcbm('edit', 'there/top', 'bitmap b flags: 2=3')  # as a power cut leaves it
        shutil.copyfile(work.path('there/top'), work.path('copy'))
        work.run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'no/mid', 'copy')
        work.qcbm('bitmap', '--revive', '--against=m', *both, 'copy', 'b')
        require_equal(dirty(work, 'copy', 'b'), [(6 * MiB, 6 * MiB + 64 * KiB)], 'revived')
        bitmaps_that_are_refused(work, top.uri(), mid.uri(), base.uri())


def bitmaps_that_are_refused(work, top, mid, base):
    before = [qtool.digest(work.path(name)) for name in ('top', 'mid', 'base')]
    for words, says in (
            (['--prune', 'b', '--chain', '--below', mid, '--below', base, 'top'], ['every layer', 'only read']),
            (['--prune', 'b', '--chain', '--below', 'mid', 'top'], ['every layer', 'only read']),
            (['--prune', 'b', '--below', mid, 'top'], ['--below goes with']),
            (['--add', '--below', mid, 'top', 'x'], ['--below goes with']),
            (['--collect', 'b', '--below', mid, 'top'], ['no lock reaches', '--no-lock']),
            (['--collect', 'b', '--below', mid, '--no-lock', 'top'], ['comes from a server']),
            (['--collect', 'b', '--below', base, '--below', mid, '--no-lock', 'top'], ['named as a layer']),
            (['--collect', 'b', '--dry-run', '--no-lock', top], ['comes from a server']),
            (['--commit-into', 'base', '--no-lock', '--below', mid, '--below', base, 'top'], ['not in the backing chain']),
            (['--commit-into', base, '--no-lock', '--below', mid, 'top'], ['nbdcopy'])):
        result = work.qcbm('bitmap', *words, rc=1)
        require(result.out == '' and all(text in result.err for text in says), '%r: %s' % (words, result.err))
    require_equal([qtool.digest(work.path(name)) for name in ('top', 'mid', 'base')], before, 'images after refusals')


def wrong_chains(work, names, uris):
    far = ['--no-lock', uris[0]]
    for words, says in ((['map', *far], ['comes from a server', '--below names the layers']),
                        (['map', '--below', uris[1], *far], ['base.raw', 'comes from a server']),
                        (['map', '--below', uris[1], '--below', uris[2], '--below', names[0], *far],
                         ['no backing file']),
                        (['map', '--below', uris[2], '--below', uris[1], *far],
                         ['named to be', 'not in qcow2 format|magic']),
                        (['map', '--below', uris[0], *far], ['loop']),
                        (['map', '--below', uris[1], '--below', uris[1], *far], ['loop']),
                        (['map', '--below', 'none', *far], ["named to be 'none'", 'No such file']),
                        (['map', '--below', '', *far], ['requires a file name']),
                        (['map', '--below', 'nbd+unix:///?socket=none', *far], ['socket=none']),
                        (['map', '--below', uris[1], names[0]], ['no lock reaches', '--no-lock']),
                        (['map', '--below', uris[1], '-f', 'raw', '--no-lock', uris[2]], ['raw disk']),
                        (['bitmap', '--list', '--below', uris[1], *far], ['goes with --list --chain']),
                        (['delta', '--info', '--below', uris[1], 'd'], ['--below is about an image']),
                        (['delta', '--merge', '--below', uris[1], 'd', 'e', 'f'], ['--below is about an image']),
                        (['manifest', '--info=m', '--below', uris[1]], ['no --below']),
                        (['picture', '--host', '--below', uris[1], *far], ['--host is about the file']),
                        (['measure', '--size=1M', '--below', uris[1]], ['--below goes with a filename']),
                        (['extents', '--since', uris[2], '--below', uris[1], *far],
                         ['none of the layers that are named'])):
        result = work.qcbm(*words, rc=1)
        require(result.out == '' and all(re.search(text, result.err) for text in says), '%r: %s' % (words, result.err))


# ---- what a server says of a guest's disk -----------------------------------------------------------------------

def dirty(work, image, name):
    rows = json.loads(work.qcbm('extents', '--output=json', image, name).out)
    return ranges_norm([(r['offset'], r['offset'] + r['length']) for r in rows if r['type'] & 1])


def contexts_say_the_same(work, levels, seed):
    image, opts, _, cluster, bitmaps = grid.make_image(work, levels, random.Random(seed))
    target = 'target.qcow2'
    size = work.info(image, opts)['virtual-size']
    work.create(target, size)
    unit = 512 if size < 1 << 34 else MiB
    with work.serve(image, bitmaps, depth=True, opts=opts) as server:
        work.qcbm('synth', '--no-lock', '--from', server.uri(), '--context=qemu:allocation-depth', '-g', unit, target,
                  'depth')
        want = qtool.ranges_outward(server.allocated(), unit, size)
        require_equal(dirty(work, target, 'depth'), want, 'qemu:allocation-depth')
        work.qcbm('synth', '--no-lock', '--from', server.uri(), '--context=base:allocation', target, 'base')
        rows = json.loads(server.nbdinfo('base:allocation', '--json'))
        data = [(r['offset'], r['offset'] + r['length']) for r in rows if r['type'] != 3]
        require_equal(dirty(work, target, 'base'), qtool.ranges_outward(data, 65536, size), 'base:allocation')
        for name in bitmaps:
            work.qcbm('bitmap', '--no-lock', '--import', server.uri(), '--context=qemu:dirty-bitmap:' + name,
                      '-g', unit, target, name)
            want = qtool.ranges_outward(server.dirty(name), unit, size)
            require_equal(dirty(work, target, name), want, name)
    work.check(target)


def guest_disk_from_its_server(work):
    """manifest and --refine-against of what a guest sees, by qemu-nbd, and by qemu-storage-daemon."""
    work.create('base.qcow2', '32M')
    work.io('base.qcow2', 'write -P 1 0 4M', 'write -P 2 20M 1M')
    work.create('o.qcow2', '32M', backing='base.qcow2')
    work.io('o.qcow2', 'write -P 1 1M 1M', 'write -P 9 3M 1M', 'write -z 20M 512k', 'write -P 7 31M 1M')
    work.qcbm('manifest', '-q', '--digest=sha256', '-o', 'want', 'o.qcow2')
    work.qcbm('synth', '--refine', '--dry-run', 'o.qcow2', 'b')
    shutil.copyfile(work.path('o.qcow2'), work.path('o2.qcow2'))
    work.qcbm('synth', '--refine-against=base.qcow2', 'o2.qcow2', 'b')
    socket = work.path('qsd')
    daemon = ['qemu-storage-daemon', '--blockdev',
              'driver=qcow2,node-name=n,read-only=on,file.driver=file,file.filename=o.qcow2',
              '--nbd-server', 'addr.type=unix,addr.path=' + socket, '--pidfile', work.path('qsd.pid'),
              '--export', 'type=nbd,id=e,node-name=n,name=disk']
    process = subprocess.Popen(daemon, cwd=work.dir, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(work.path('qsd.pid')):
            require(process.poll() is None, 'qemu-storage-daemon ended')
            time.sleep(0.002)
        work.qcbm('manifest', '-q', '--digest=sha256', '-o', 'got', '--no-lock', 'nbd+unix:///disk?socket=' + socket)
        result = work.qcbm('manifest', '-q', '-o', 'none', '--no-lock', 'nbd+unix:///other?socket=' + socket, rc=1)
        require(not os.path.exists(work.path('none')), 'a manifest of an export that is not there: ' + result.err)
    finally:
        process.terminate()
        process.wait()
    work.qcbm('manifest', '--verify=got', 'o.qcow2')
    with work.serve('base.qcow2') as server:
        shutil.copyfile(work.path('o.qcow2'), work.path('o3.qcow2'))
        work.qcbm('synth', '--refine-against', server.uri(), '--no-lock', 'o3.qcow2', 'b')
    require_equal(dirty(work, 'o3.qcow2', 'b'), dirty(work, 'o2.qcow2', 'b'), 'refined against the server')
    with work.serve('o.qcow2') as server:
        result = work.qcbm('manifest', '--verify=want', '--no-lock', server.uri())
        require_equal(result.code, 0, 'verified against the server')


def no_container_is_taken_for_a_disk(work):
    """--refine-against a server which has the file of the image, or another disk: nothing may be left out for that."""
    work.create('before.qcow2', '8M')
    work.io('before.qcow2', 'write -P 7 1M 1M')
    work.create('o.qcow2', '8M', backing='before.qcow2')
    work.io('o.qcow2', 'write -P 7 384k 64k')
    work.create('half.qcow2', '4M')
    work.create('more.qcow2', '16M')
    work.run('qemu-img', 'convert', '-O', 'raw', 'before.qcow2', 'before.raw')
    with Nbdkit(work, 'file', work.path('before.qcow2')) as server:
        result = work.qcbm('synth', '--refine-against', server.uri(), '--no-lock', 'o.qcow2', 'n', rc=1)
        require('begins as an image of format qcow2' in result.err, result.err)
    for other in ('half.qcow2', 'more.qcow2'):
        with work.serve(other) as server:
            result = work.qcbm('synth', '--refine-against', server.uri(), '--no-lock', 'o.qcow2', 'n', rc=1)
            require('not one disk' in result.err, result.err)
    require_equal(work.info('o.qcow2')['format-specific']['data'].get('bitmaps', []), [], 'bitmaps after refusals')
    with Nbdkit(work, 'file', work.path('before.raw')) as server:
        work.qcbm('synth', '--refine-against', server.uri(), '--no-lock', 'o.qcow2', 'n')
    require_equal(dirty(work, 'o.qcow2', 'n'), [(384 * KiB, 448 * KiB)], 'what has changed')


def zeros_over_the_base_are_not_missed(work):
    work.create('base.qcow2', '16M')
    work.io('base.qcow2', 'write -P 1 0 16M')
    work.create('o.qcow2', '16M', backing='base.qcow2')
    work.io('o.qcow2', 'write -z 2M 1M', 'discard 9M 1M', 'write -P 5 12M 1M')
    work.qcbm('synth', '--into=base.qcow2', '--disabled', 'o.qcow2', 'want')
    shutil.copyfile(work.path('o.qcow2'), work.path('same.qcow2'))
    with work.serve('same.qcow2', depth=True) as server:
        before = qtool.digest(work.path('o.qcow2'))
        for more in ([], ['--disabled'], ['--dry-run']):
            result = work.qcbm('synth', '--no-lock', *more, '--from', server.uri(), '--context=base:allocation',
                               'o.qcow2', 'b', rc=1)
            require('zeroed or discarded' in result.err and 'allocation-depth' in result.err, result.err)
        require_equal(qtool.digest(work.path('o.qcow2')), before, 'the image after a refusal')
        work.qcbm('synth', '--no-lock', '--from', server.uri(), '--context=qemu:allocation-depth', 'o.qcow2', 'b')
    require_equal(dirty(work, 'o.qcow2', 'b'), dirty(work, 'base.qcow2', 'want'), 'what has changed')


def disks_are_not_locked_either(work):
    """A bitmap made of what a server says lacks what a guest writes meanwhile."""
    work.create('a.qcow2', '1M')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'd')
    work.create('t.qcow2', '1M')
    with work.serve('a.qcow2', ['d'], depth=True) as server:
        uri = server.uri()
        for way in (['synth', '--from', uri, '--context=qemu:allocation-depth', 't.qcow2', 'b'],
                    ['synth', '--from', uri, '--context=base:allocation', 't.qcow2', 'c'],
                    ['bitmap', '--import', uri, '--context=qemu:dirty-bitmap:d', 't.qcow2', 'd'],
                    ['synth', '--refine-against', uri, 't.qcow2', 'r']):
            work.qcbm_refused(*way, says=['no lock reaches an NBD server', '--no-lock'], unchanged=['t.qcow2'])
            result = work.qcbm(*way, '--no-lock')
            require(LOCKS.fullmatch(result.err), 'no warning of %r: %r' % (way, result.err))


def reading_is_bounded(work):
    """--max-read: the turns that are waited for."""
    with nbd_server.Server(work.path('h'), random.Random(1).randbytes(4 * MiB)) as server:
        trace = work.run('strace', '-f', '-e', 'trace=clock_nanosleep', qtool.qcbm_path(), 'manifest', '-q', '-f',
                         'raw', '--max-read=400M', '--no-lock', '--no-sandbox', '-o', 'm', server.uri())
    require(trace.err.count('clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME') >= 16, 'turns: ' + trace.err)


def damage_is_mended_in_a_copy(work):
    """Cures of what is behind a server are for a copy of it."""
    work.create('a.qcow2', '8M')
    work.io('a.qcow2', 'write -P 1 0 4M')
    os.truncate(work.path('a.qcow2'), 500 * KiB)
    with Nbdkit(work, 'file', work.path('a.qcow2')) as server:
        for more in ([], ['--explain']):
            result = work.qcbm('check', '--no-lock', *more, server.uri(), rc=None)
            text = result.out + LOCKS.sub('', result.err)
            copy = re.search("'(nbdcopy [^']* )COPY'", text)
            require(copy is not None, 'no word of a copy: ' + text)
            require(not re.search(r'(check|rescue|repair)[^\n\']* nbd\+unix', text), 'a command for a server: ' + text)
        work.run('sh', '-c', copy.group(1) + 'copy.qcow2')
    require_equal(qtool.digest(work.path('copy.qcow2')), qtool.digest(work.path('a.qcow2')), 'the copy')


# ---- cost -------------------------------------------------------------------------------------------------------

def scattered(work, name, tables):
    """An image whose mapping tables have data between them."""
    work.create(name, '%dM' % (512 * tables))
    work.io(name, *['write -P %d %dM 192k' % (i % 250 + 1, 512 * i) for i in range(tables)])


def metadata_bytes(path):
    """Header, L1, L2 tables and refcounts, by an independent reader."""
    q = Qcow2(path)
    with open(path, 'rb') as f:
        head = f.read(104)
        cluster = 1 << int.from_bytes(head[20:24], 'big')
        l1_size, l1_at = int.from_bytes(head[36:40], 'big'), int.from_bytes(head[40:48], 'big')
        table_at, table_clusters = int.from_bytes(head[48:56], 'big'), int.from_bytes(head[56:60], 'big')
        f.seek(l1_at)
        tables = {int.from_bytes(f.read(8), 'big') & 0x00fffffffffffe00 for _ in range(l1_size)} - {0}
        f.seek(table_at)
        blocks = {int.from_bytes(f.read(8), 'big') for _ in range(table_clusters * cluster // 8)} - {0}
    require(q.file_size > 0, 'it is a file')
    return cluster * (1 + table_clusters + len(tables) + len(blocks)) + 8 * l1_size


def nothing_is_read_in_vain(work):
    scattered(work, 's.qcow2', 96)
    path, most = work.path('s.qcow2'), 0
    for way in (['synth', '--dry-run', '@', 'x'], ['check', '@'], ['map', '@'], ['extents', '--layer', '@'],
                ['info', '@']):
        with Nbdkit(work, '--filter=stats', 'file', path, 'statsfile=' + work.path('stats')) as server:
            work.qcbm(*[server.uri() if word == '@' else word for word in way], '--no-lock')
        with open(work.path('stats')) as f:
            text = f.read()
        line = re.search(r'read: (\d+) ops, [\d.]+ s, ([\d.]+) (bytes|KiB|MiB)', text)
        require(line is not None, 'no figure of reads: ' + text)
        moved = float(line.group(2)) * {'bytes': 1, 'KiB': KiB, 'MiB': MiB}[line.group(3)]
        require(moved <= 1.05 * metadata_bytes(path),
                '%r has read %d bytes, metadata is %d' % (way, moved, metadata_bytes(path)))
        most = max(most, moved)
    require(most > 96 * 64 * KiB * 0.9, 'nothing was read')


def many_reads_are_in_flight(work):
    scattered(work, 's.qcow2', 96)
    with open(work.path('s.qcow2'), 'rb') as f:
        data = f.read()
    raw = random.Random(1).randbytes(24 * MiB)
    for way, content in ((['synth', '--dry-run', '@', 'x'], data), (['check', '@'], data), (['map', '@'], data),
                         (['extents', '--layer', '@'], data), (['manifest', '-q', '-o', 'm', '@'], raw)):
        with nbd_server.Server(work.path('h'), content, 'hold') as server:
            work.qcbm(*[server.uri() if word == '@' else word for word in way], '--no-lock')
            require(server.most >= 16, '%r has %d reads in flight at most' % (way, server.most))


def many_questions_are_in_flight(work):
    """Of 4 GiB each; what is told is the same however much of it comes at once."""
    size = 100 << 30
    work.create('t.qcow2', size)
    extents = [(at, min(at + (7 << 30), size), at >> 30 & 1 and 3) for at in range(0, size, 7 << 30)]
    want = ranges_norm([(a, b) for a, b, flags in extents if not flags])
    for mode in ('hold', 'status-one', 'good'):
        with nbd_server.Server(work.path('h'), b'', mode, extents={'base:allocation': extents}, size=size) as server:
            work.qcbm('synth', '--no-lock', '--replace', '--from', server.uri(), '--context=base:allocation', 't.qcow2',
                      'b')
            require(server.most >= 16 or mode != 'hold', '%d questions in flight at most' % server.most)
        require_equal(dirty(work, 't.qcow2', 'b'), want, mode)


def nothing_else_is_loaded(work):
    work.create('a.qcow2', '1M')
    need = work.run('readelf', '-d', qtool.qcbm_path()).out
    require('nbd' not in re.sub(r'(?m)^.*R(UN)?PATH.*$', '', need), 'the command is linked with ' + need)
    trace = work.run('strace', '-f', '-e', 'trace=openat,execve', qtool.qcbm_path(), 'info', 'a.qcow2')
    require(not re.search(r'"[^"]*lib(qcbm-)?nbd\.so|gnutls|libxml', trace.err), 'loaded for a file: ' + trace.err)
    with Nbdkit(work, 'file', work.path('a.qcow2')) as server:
        trace = work.run('strace', '-f', '-e', 'trace=openat', qtool.qcbm_path(), 'info', '--no-lock', server.uri())
    require('libqcbm-nbd.so' in trace.err and 'libnbd.so' in trace.err, 'the trace shows nothing')


# ---- faults -----------------------------------------------------------------------------------------------------

WAYS = {'synth': ['synth', '--dry-run', '--output=json', '@', 'x'], 'check': ['check', '--output=json', '@'],
        'map': ['map', '--output=json', '@'], 'manifest': ['manifest', '-q', '-f', 'qcow2', '-o', 'new', '@'],
        'export': ['bitmap', '--export', 'new', '@', 'b'], 'list': ['bitmap', '--list', '@'],
        'into': ['synth', '--into', 'other.qcow2', '@', 'x']}


def small_image(work):
    work.create('s.qcow2', '4G')
    work.io('s.qcow2', *['write -P %d %dM 64k' % (i + 1, 512 * i + i) for i in range(8)])
    work.run('qemu-img', 'bitmap', '--add', 's.qcow2', 'b')
    work.create('other.qcow2', '4G')
    with open(work.path('s.qcow2'), 'rb') as f:
        return f.read()


def one_clean_error(work, way, server, want, before):
    """It is what it is without faults, or one line and nothing."""
    shutil.copyfile(work.path('other.qcow2'), work.path('kept.qcow2'))
    result = work.qcbm(*[server.uri() if word == '@' else word for word in WAYS[way]], '--no-lock', rc=None)
    errors = LOCKS.sub('', result.err)
    clean = lambda text: without_names(text, server.uri(), '/none')
    new = work.path('new')
    if way == 'list' and 'unreadable' in result.out:
        return 1  # what is wrong with a bitmap is a finding
    if result.code == 0 and want.code == 0:
        require_equal(clean(result.out), clean(want.out), '%s in spite of a fault' % way)
    else:
        # of a dry run the figures are out when the plan fails
        require(result.out == '' or way in ('check', 'synth'), '%s failed, and printed %s' % (way, result.out[:200]))
        require(result.code != 0 and re.fullmatch(r'qcbm: [^\n]+\n(qcbm: hint: [^\n]+\n)*', errors),
                '%s: exit code %d, %r' % (way, result.code, errors))
        require(not os.path.exists(new), '%s failed, and left a file' % way)
        require_equal(qtool.digest(work.path('other.qcow2')), before, '%s failed, and changed the image' % way)
    if os.path.exists(new):
        os.unlink(new)
    shutil.copyfile(work.path('kept.qcow2'), work.path('other.qcow2'))
    return result.code


def each_read_fails(work, way, mode):
    data = small_image(work)
    before = qtool.digest(work.path('other.qcow2'))
    with nbd_server.Server(work.path('h'), data) as server:
        shutil.copyfile(work.path('other.qcow2'), work.path('kept.qcow2'))
        want = work.qcbm(*[server.uri() if word == '@' else word for word in WAYS[way]], '--no-lock', rc=None)
        count = server.reads
        if os.path.exists(work.path('new')):
            os.unlink(work.path('new'))
        shutil.copyfile(work.path('kept.qcow2'), work.path('other.qcow2'))
    require(want.code == 0 and count >= 3, 'the test is wrong: %d reads, %s' % (count, want.err))
    failed = 0
    for number in range(1, count + 1):
        with nbd_server.Server(work.path('h'), data, mode, number) as server:
            failed += one_clean_error(work, way, server, want, before) != 0
    require(failed > 0, 'no fault was noticed')


def killed_at_random(work, seed):
    """A server that is gone from one moment to the next: what was asked for, or an error and nothing."""
    rng = random.Random(seed)
    small_image(work)
    shutil.copyfile(work.path('other.qcow2'), work.path('kept.qcow2'))
    before = qtool.digest(work.path('kept.qcow2'))
    for _ in range(6):
        way = rng.choice(sorted(WAYS))
        with Nbdkit(work, '--filter=delay', 'file', work.path('s.qcow2'), 'rdelay=10ms') as server:
            words = 'sleep 0.0%d; kill -9 %d' % (rng.randrange(10, 99), server.process.pid)
            killer = subprocess.Popen(['sh', '-c', words])
            result = work.qcbm(*[server.uri() if word == '@' else word for word in WAYS[way]], '--no-lock', rc=None)
            killer.wait()
        if result.code != 0:
            require(result.out == '' or way in ('check', 'synth'), '%s failed, and printed %s' % (way, result.out))
            require(not os.path.exists(work.path('new')), '%s failed, and left a file' % way)
            require_equal(qtool.digest(work.path('other.qcow2')), before, '%s failed, and changed the image' % way)
        if os.path.exists(work.path('new')):
            os.unlink(work.path('new'))
        shutil.copyfile(work.path('kept.qcow2'), work.path('other.qcow2'))


def nbdkit_reports_errors(work):
    data = small_image(work)
    require(data, 'an image')
    for rate in ('100%', '30%'):
        with Nbdkit(work, '--filter=error', 'file', work.path('s.qcow2'), 'error-pread=EIO',
                    'error-pread-rate=' + rate) as server:
            result = work.qcbm('check', '--no-lock', server.uri(), rc=None)
            require(result.code == 1 if rate == '100%' else result.code in (0, 1), result.err)
            if result.code == 1:
                told = r'NBD server: read of \d+ bytes at 0x[0-9a-f]+ failed: Input/output error'
                require(re.search(told, result.err), result.err)


# ---- servers that misbehave -------------------------------------------------------------------------------------

# What a user of the library is told; None: it is served all the same. Those that are silent end by the clock.
HOSTILE = {
    'good': None, 'simple': None, 'blocks': None, 'odd-blocks': None, 'huge-blocks': None, 'size-changes': None, 'no-size': None,
    'twice': None, 'trickle': None,
    'pieces': None, 'crumbs': 'breaks the protocol',
    'before': None, 'huge-size': None, 'size-above': 'longer than', 'bad-magic': 'handshake', 'endless-contexts': '',
    'endless-info': '', 'fail-from': 'failed: Input/output error', 'die': '', 'die-in-reply': '',
    'long': 'out of bounds',
    'short': 'breaks the protocol', 'overlap': 'breaks the protocol', 'behind': 'out of bounds',
    'empty': 'breaks the protocol', 'empty-data': 'breaks the protocol', 'hole-too-long': 'out of bounds',
    'wrong-cookie': 'cookie', 'huge-payload': 'length', 'bad-reply': 'magic', 'endless': 'DONE',
    'silent': 'has not answered', 'silent-handshake': 'has not answered', 'endless-data': 'has completed nothing',
}
HOSTILE_EXTENTS = {
    'good': None, 'status-one': None, 'status-long': None, 'status-error': 'failed: Input/output error',
    'status-empty-reply': 'no extents', 'status-zero': 'without length', 'status-none': 'length',
    'status-wrong-id': 'no extents', 'status-silent': 'has not answered', 'status-endless': 'has completed nothing',
    'simple': 'has no context', 'status-crumbs': 'smaller than sectors',
}
BY_THE_CLOCK = {'silent', 'silent-handshake', 'trickle', 'endless-data', 'status-silent', 'status-endless'}


def hostile_server(work, mode, context):
    data = bytes(i * 7 % 251 for i in range(MiB if mode == 'status-crumbs' else 128 * KiB))
    says = (HOSTILE_EXTENTS if context else HOSTILE)[mode]
    wait = '2000' if mode in BY_THE_CLOCK else '60000'
    with nbd_server.Server(work.path('h'), data, mode, contexts=('base:allocation', 'qemu:allocation-depth')) as server:
        result = work.run(NBD_READ, wait, server.uri(), *(['qemu:allocation-depth'] if context else []), rc=None)
    require_equal(result.code, 0 if says is None else 1, '%s: %s%s' % (mode, result.out, result.err))
    if says is not None:
        require(re.match('QCBM_E_(IO|LIMIT|NOTFOUND) ', result.out) and says in result.out, mode + ': ' + result.out)
    elif not context and mode not in ('no-size', 'before'):
        require('sum %d,' % sum(data[:64 * KiB]) in result.out, '%s: %s' % (mode, result.out))


def all_kinds_of_reads(work, mode, seed):
    """Of a server whose connection has little memory; what is there is what nbd_read.c has."""
    size = (1 << 20) + 64 * KiB
    period = bytes(i * 7 % 251 for i in range(251))
    data = (period * (size // 251 + 1))[:size]
    extents = [(at, min(at + 8192, size), (3, 0, 1)[at // 8192 % 3]) for at in range(0, size, 8192)]
    with nbd_server.Server(work.path('h'), data, mode, at=20, extents={'base:allocation': extents}) as server:
        result = work.run(NBD_READ, 'walk', server.uri(), seed)
    require_equal(result.out, 'all is right\n', mode)


def extents_of_sectors(work):
    """Very many, none of them smaller than a sector: no server could say it in fewer."""
    n = 1000100
    with nbd_server.Server(work.path('h'), b'', 'status-sectors', size=512 * n) as server:
        result = work.run(NBD_READ, '60000', server.uri(), 'base:allocation')
    require_equal(result.out, '%d extents\n' % n, 'extents of sectors')


def calls_of(work, calls, mode, wait):
    with nbd_server.Server(work.path('h'), bytes(128 * KiB), mode) as server:
        return work.run('strace', '-f', '-e', 'trace=' + calls, NBD_READ, wait, server.uri(), rc=1).err


def waiting_is_sleep_and_nothing_is_closed_twice(work):
    """A descriptor that is closed again may be somebody else's by then."""
    require(calls_of(work, 'futex,clone,clone3', 'silent', '700').count('futex(') < 100, 'it does not sleep')
    for mode in ('bad-magic', 'silent-handshake', 'endless-info', 'die', 'size-above'):
        trace = calls_of(work, 'close', mode, '700')
        require('close(' in trace and 'EBADF' not in trace, '%s: %s' % (mode, trace))


def hole_before_the_question(work):
    """Questions begin with a block; an answer that ends before what was asked for is not walked."""
    data = bytes(MiB)
    extents = {'base:allocation': [(at, at + 512, 0) for at in range(0, MiB, 512)]}
    with nbd_server.Server(work.path('h'), data, 'large-blocks', extents=extents) as server:
        result = work.qcbm('manifest', '-q', '--threads=1', '-g', '4k', '-f', 'raw', '--no-lock', '-o', 'm',
                           server.uri(), rc=1)
        require('an extent ends inside a block' in result.err, result.err)
    require(not os.path.exists(work.path('m')), 'a manifest of what was not told')


def command_meets_hostile_server(work, mode):
    data = small_image(work)
    work.create('t.qcow2', '4G')
    before = qtool.digest(work.path('t.qcow2'))
    with nbd_server.Server(work.path('h'), data, mode, 3) as server:
        result = work.qcbm('check', '--no-lock', server.uri(), rc=1)
        require(result.out == '' and LOCKS.sub('', result.err).count('\n') >= 1, result.err)
        result = work.qcbm('synth', '--no-lock', '--from', server.uri(), '--context=base:allocation', 't.qcow2', 'b',
                           rc=1)
        require('Could not make bitmap' in result.err or 'Could not open' in result.err, result.err)
    require_equal(qtool.digest(work.path('t.qcow2')), before, 'the image after a failure')


# ---- what is refused --------------------------------------------------------------------------------------------

def only_reading(work):
    work.create('a.qcow2', '4M')
    work.create('t.qcow2', '4M')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b')
    with Nbdkit(work, 'memory', '1M') as server:  # no image, as the disk of a guest is none
        work.qcbm_refused('bitmap', '--list', '--no-lock', server.uri(), says=["hint: .*'qemu-nbd -r -f raw IMAGE'"])
    with Nbdkit(work, 'file', work.path('a.qcow2')) as server:
        uri = server.uri()
        refused = work.qcbm_refused
        refused('info', uri, says=['no lock reaches an NBD server', '--no-lock'], file=uri)
        for *way, hint in (['bitmap', '--add', uri, 'x', ''], ['synth', uri, 'x', 'hint: --into=IMAGE'],
                           ['check', '-r', 'all', uri, ''], ['tag', uri, '']):
            refused(*way, '--no-lock', says=['where its file is', hint], file=uri, unchanged=['a.qcow2'])
        for way in (['undo', uri, 'u'], ['edit', uri, 'header.size=1'], ['rescue', '-o', 'new', uri],
                    ['apply', uri, 'd'], ['attach', '--data', uri, 'new'], ['checkpoint', 'verify', '--disk', 'vda=' + uri, 'c'],
                    ['synth', '--into', uri, 't.qcow2', 'x'],
                    ['bitmap', '--copy-to', uri, 't.qcow2', 'x'], ['bitmap', '--merge', 'b', '-b', uri, 't.qcow2', 'x']):
            refused(*way, says=["'nbdcopy '?nbd.* COPY' makes one"], file=uri, unchanged=['t.qcow2'])
        for way in (['synth', '--since', uri, 't.qcow2', 'x'], ['info', '--image-opts', 'driver=nbd,path=x']):
            refused(*way, unchanged=['t.qcow2'])
        for old in 'nbd:localhost:1', 'nbd+vsock://1/x':
            refused('info', old, says=['hint: .*nbd://HOST'])
        require(not os.path.exists(work.path('new')), 'a refused command made a file')
        refused('bitmap', '--import', uri, '--context=qemu:dirty-bitmap:none', 't.qcow2', 'x', says=['has no context.*-B NAME'],
                unchanged=['t.qcow2'])
        said = work.qcbm('extents', '--no-lock', uri, 'none', rc=1).err
        require("hint: 'qcbm bitmap --list --no-lock " in said, said)
        for words, says in ((['bitmap', '--import', uri, 't.qcow2', 'x'], '--context'),
                            (['bitmap', '--import', 'file', '--context=qemu:dirty-bitmap:b', 't.qcow2', 'x'], 'URI'),
                            (['synth', '--from', uri, 't.qcow2', 'x'], 'go together'),
                            (['synth', '--from', uri, '--context=what', 't.qcow2', 'x'], 'knows base:allocation'),
                            (['synth', '--from', 'file', '--context=base:allocation', 't.qcow2', 'x'], 'takes a URI')):
            result = work.qcbm(*words, rc=1)
            require(says in result.err and result.out == '', '%r: %s' % (words, result.err))
        work.create('larger.qcow2', '8M')
        result = work.qcbm('synth', '--no-lock', '--from', uri, '--context=base:allocation', 'larger.qcow2', 'x', rc=1)
        require('not one disk' in result.err, result.err)
    with Nbdkit(work, 'memory', '1M') as server:
        work.qcbm_refused('check', '-r', 'all', '--no-lock', server.uri(), says=['never written to'])
    for name in ('http://localhost/', 'nbd', 'nbd:localhost:1', ''):
        result = work.run(NBD_READ, '60000', name, rc=1)
        require('QCBM_E_ARG no URI that begins with nbd://' in result.out, result.out)
    nobody = 'nbd+unix:///?socket=' + work.path('nobody')
    for way in (['info'], ['check'], ['check', '--explain'], ['check', '--strict'], ['check', '--untrusted'], ['map'],
                ['measure', '-O', 'qcow2'], ['manifest', '-o', 'new'], ['bitmap', '--list'], ['extents', '--layer']):
        refused(*way, '--no-lock', nobody, file='nobody')
    refused('info', '--no-lock', 'nbds+unix://x@/?socket=/none&tls-psk-file=' + work.path('a.qcow2'))


def records_name_the_image(work):
    """By its tag, wherever it is served; one without a tag has no name here."""
    def record(*words):
        work.qcbm(*words, '--no-lock', '--record=log')
        with open(work.path('log'), encoding='utf-8') as f:
            found = json.loads(f.read().split('\n')[-2])
        return found['image_id'], found['file_id']

    work.create('a.qcow2', '1M')
    work.create('t.qcow2', '1M')
    with Nbdkit(work, 'file', work.path('a.qcow2')) as server:
        require_equal(record('info', server.uri()), (None, None), 'without a tag')
    tag = json.loads(work.qcbm('tag', '--output=json', 'a.qcow2').out)['tag']
    with Nbdkit(work, 'file', work.path('a.qcow2')) as server:
        for words in ['info'], ['map'], ['bitmap', '--list'], ['dump'], ['synth', '--into=t.qcow2']:
            more = {'dump': ['header'], 'synth': ['b']}.get(words[0], [])
            require_equal(record(*words, server.uri(), *more), ('tag-' + tag, None), words)
    require_equal(record('info', 'a.qcow2')[0], 'tag-' + tag, 'the file')


def images_choose_no_server(work):
    """A name in an image is never connected to, whatever it looks like."""
    with nbd_server.Server(work.path('h'), bytes(MiB)) as server:
        work.run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', server.uri(), '-F', 'raw', 'a.qcow2', '1M')
        for way in (['map'], ['info', '--backing-chain'], ['measure', '-O', 'qcow2'], ['bitmap', '--list', '--chain']):
            result = work.qcbm(*way, 'a.qcow2', rc=None)
            require('not followed' in result.err, '%r: %s' % (way, result.err))
        require(not server.open, 'somebody connected')
    work.create('c.qcow2', '1M')
    work.create('b.qcow2', '1M', backing='c.qcow2')
    with Nbdkit(work, 'file', work.path('b.qcow2')) as server:
        trace = work.run('strace', '-f', '-e', 'trace=openat,stat,newfstatat', qtool.qcbm_path(), 'map', '--no-lock',
                         server.uri(), rc=1)
        require('"c.qcow2"' not in trace.err, 'a file was looked for: ' + trace.err)


def shut_in_with_its_connection(work):
    """All threads of a command that reads from a server are behind the filter."""
    data = small_image(work)
    with nbd_server.Server(work.path('h'), data, 'silent', 4) as server:
        process = subprocess.Popen([qtool.qcbm_path(), 'check', '--no-lock', server.uri()], cwd=work.dir,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while server.reads < 4:
                require(process.poll() is None, 'it has ended')
                time.sleep(0.005)
            tasks = os.listdir('/proc/%d/task' % process.pid)
            modes = []
            for task in tasks:
                with open('/proc/%d/task/%s/status' % (process.pid, task)) as f:
                    modes.append(re.search(r'(?m)^Seccomp:\s*(\d)', f.read()).group(1))
            require(len(tasks) >= 2 and set(modes) == {'2'}, 'filters of the threads: %r' % modes)
        finally:
            process.kill()
            process.wait()


# ---- the cases --------------------------------------------------------------------------------------------------

def combinations(args):
    chosen = grid.choose_combinations(args.seed, 60 if args.full else 0, 1)
    chosen = [c for c in chosen if not (c['shape'] == '512' and c['size'] == 'huge')]
    return chosen if args.full else chosen[::6]


def label(levels):
    return '-'.join(str(levels[name]) for name in ('shape', 'size', 'writes', 'backing', 'store', 'snapshot'))


def case(function, name, **params):
    return function, name, params


def all_cases(args):
    cases = [case(f, name) for f, name in (
        (chains_are_named, 'chains'), (bitmaps_of_named_layers, 'chains-of-bitmaps'),
        (nothing_is_read_in_vain, 'nothing-in-vain'), (many_reads_are_in_flight, 'in-flight'),
        (many_questions_are_in_flight, 'questions'), (nothing_else_is_loaded, 'start-up'), (guest_disk_from_its_server, 'guest-disk'),
        (no_container_is_taken_for_a_disk, 'no-container'), (zeros_over_the_base_are_not_missed, 'zeros-over-base'),
        (disks_are_not_locked_either, 'no-lock'), (reading_is_bounded, 'max-read'),
        (extents_of_sectors, 'sectors'), (waiting_is_sleep_and_nothing_is_closed_twice, 'waiting'),
        (damage_is_mended_in_a_copy, 'damage'), (hole_before_the_question, 'hole-before'),
        (nbdkit_reports_errors, 'nbdkit-errors'), (only_reading, 'only-reading'), (records_name_the_image, 'records'),
        (images_choose_no_server, 'no-name-of-an-image'), (shut_in_with_its_connection, 'shut-in'))]
    for number, levels in enumerate(combinations(args)):
        name = '%03d-%s' % (number, label(levels))
        if levels['store'] != 'luks':
            cases.append(case(grid_reads_the_same, 'same-' + name, levels=levels, seed=args.seed + number))
        cases.append(case(contexts_say_the_same, 'contexts-' + name, levels=levels, seed=args.seed + number))
    for way in WAYS:
        for mode in ('fail-once', 'fail-from', 'die'):
            cases.append(case(each_read_fails, '%s-%s' % (mode, way), way=way, mode=mode))
    cases += [case(killed_at_random, 'killed-%d' % n, seed=args.seed + n) for n in range(30 if args.full else 2)]
    cases += [case(hostile_server, 'hostile-' + mode, mode=mode, context=False) for mode in HOSTILE]
    cases += [case(hostile_server, 'hostile-extents-' + mode, mode=mode, context=True) for mode in HOSTILE_EXTENTS]
    cases += [case(all_kinds_of_reads, 'reads-%s-%d' % (mode, n), mode=mode, seed=args.seed + n)
              for mode in ('good', 'simple', 'blocks', 'pieces') for n in range(20 if args.full else 1)]
    return cases + [case(command_meets_hostile_server, 'command-' + mode, mode=mode)
                    for mode in ('long', 'short', 'overlap', 'wrong-cookie', 'bad-reply', 'die-in-reply')]


def main():
    args = arguments(__doc__ or 'nbd')
    need_tools('nbdkit', 'qemu-nbd', 'qemu-storage-daemon', 'nbdinfo', 'strace')
    run_cases(args, all_cases(args))


if __name__ == '__main__':
    main()
