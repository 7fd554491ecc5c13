#!/usr/bin/env python3
# chain.py - `qcbm synth` over backing chains: --since, --into, and the ways to treat a bitmap that exists
#
# SPDX-License-Identifier: MIT
#
# The expected set is computed from what qemu-img map calls allocated in each layer, plus the rule for layers that are
# shorter than those around them. It is then held between two bounds that qemu gives: every byte that differs between
# the view of BASE and the view of the top must be in it, and nothing may be in it that qemu's allocation depth does not
# attribute to a layer above BASE.

import json
import os
import random
import socket

from qtool import (EXT_BACKING_FORMAT, KiB, MiB, Failure, Qcow2, arguments, default_granularity, differing_ranges,
                   digest, need_tools, ranges_clip, ranges_minus, ranges_norm, ranges_or, ranges_outward, ranges_total,
                   require, require_equal, require_kept, rewrite_first_cluster, run_cases, served_dirty, served_rows)

NAME = 'since'


class Layer:
    """One image of a chain, from the bottom up."""

    def __init__(self, name, size, writes=(), fmt='qcow2', options='cluster_size=64k', stored=None):
        self.name, self.size, self.writes, self.fmt, self.options = name, size, writes, fmt, options
        self.stored = stored  # the backing name to store, if not the plain name of the layer below


def build(work, layers):
    below = None
    for layer in layers:
        os.makedirs(os.path.dirname(work.path(layer.name)) or work.dir, exist_ok=True)
        if layer.fmt == 'raw':
            with open(work.path(layer.name), 'wb') as f:
                f.truncate(layer.size)
        else:
            name = None if below is None else layer.stored or os.path.relpath(below.name,
                                                                              os.path.dirname(layer.name) or '.')
            work.create(layer.name, layer.size, layer.options, name, below.fmt if below else 'qcow2')
        if layer.writes:
            work.io(layer.name, *layer.writes, fmt=layer.fmt)
        below = layer


def expected_ranges(work, layers, since):
    """Dirty bytes of the top against layers[since]. layers: bottom first."""
    top = layers[-1].size
    pieces = []
    for index in range(since + 1, len(layers)):
        layer = layers[index]
        pieces += work.map_allocated(layer.name)
        if index < len(layers) - 1:
            longest = max(below.size for below in layers[since:index])
            if longest > layer.size:
                pieces.append((layer.size, longest))
    return ranges_clip(ranges_or(pieces), top)


def verify(work, image, name, expected, granularity, enabled=True):
    """qemu serves the expected ranges, and the image is sound."""
    work.check(image)
    require_equal(work.info_bitmaps(image).get(name), (granularity, ['auto'] if enabled else []), 'qemu-img info')
    require_equal(served_dirty(work, image, [name])[name], expected, 'dirty extents')


def raw_view(work, image, fmt, out):
    work.run('qemu-img', 'convert', '-f', fmt, '-O', 'raw', image, out)
    return work.path(out)


def check_bounds(work, layers, since, dirty):
    """dirty: served ranges, in granules of 512 bytes."""
    top, base = layers[-1], layers[since]
    differing = differing_ranges(raw_view(work, base.name, base.fmt, 'base.view'),
                                 raw_view(work, top.name, top.fmt, 'top.view'), top.size)
    require_equal(ranges_minus(differing, dirty, top.size), [], 'bytes that differ from BASE but are not dirty')
    above = len(layers) - 1 - since
    upper = ranges_norm([(start, end) for start, end, depth in served_rows(work, top.name, ['qemu:allocation-depth'])[0]
                         if 1 <= depth <= above])
    require_equal(ranges_minus(dirty, upper, top.size), [], 'dirty, though qemu finds it in no layer above BASE')


def synth_since(work, layers, since, granularity=None, base_name=None, top_name=None, cluster=64 * KiB):
    """Synthesise in the top layer against layers[since], and verify."""
    top = top_name or layers[-1].name
    lower = [work.path(layer.name) for layer in layers[:-1]]
    before = [digest(path) for path in lower]
    expected = expected_ranges(work, layers, since)
    g = granularity or default_granularity(cluster)
    expected_g = ranges_outward(expected, g, layers[-1].size)
    data = json.loads(work.qcbm('synth', '--since', base_name or layers[since].name,
                                *(['-g', granularity] if granularity else []), '--output=json', top, NAME).out)
    require_equal([digest(path) for path in lower], before, 'a layer below was written')
    require_equal(data['dirty-bytes'], ranges_total(expected_g), 'JSON: dirty bytes')
    require_equal([(os.path.realpath(work.path(layer['filename'])), layer['virtual-size'])
                   for layer in data['layers']][:len(layers) - 1 - since],
                  [(os.path.realpath(work.path(layer.name)), layer.size) for layer in reversed(layers[since + 1:])],
                  'JSON: layers looked at')
    verify(work, layers[-1].name, NAME, expected_g, g)
    # the bounds, at the finest granularity
    work.qcbm('synth', '--replace', '-g', '512', '--since', base_name or layers[since].name, top, NAME)
    fine = served_dirty(work, layers[-1].name, [NAME])[NAME]
    require_equal(fine, ranges_outward(expected, 512, layers[-1].size), 'dirty extents at 512 bytes')
    check_bounds(work, layers, since, fine)
    return expected


# ---- --since ----------------------------------------------------------------------------------------------------

def plain_layers(fmt='qcow2'):
    return [Layer('base.' + fmt, 4 * MiB, ['write -P 1 0 1M'], fmt),
            Layer('one.qcow2', 4 * MiB, ['write -P 2 512k 192k', 'write -z 3M 64k']),
            Layer('two.qcow2', 4 * MiB, ['write -P 3 640k 128k', 'write -P 3 2M 4k', 'discard 0 64k']),
            Layer('top.qcow2', 4 * MiB, ['write -P 4 1M 100k', 'write -c -P 4 3968k 64k'])]


def case_plain(work, since, fmt):
    layers = plain_layers(fmt)
    build(work, layers)
    expected = synth_since(work, layers, since)
    require(expected, 'the test is wrong: nothing is expected')


def case_kinds_of_layers(work):
    """Every kind of mapping, in the layers between."""
    size = 8 * MiB + 512
    layers = [Layer('base.raw', size, ['write -P 1 0 5M'], 'raw'),
              Layer('v2.qcow2', size, ['write -P 2 100k 3k', 'write -z 7M 100k'], options='compat=0.10'),
              Layer('ext.qcow2', size, ['write -P 3 1M 3k', 'write -z 2M 2k', 'discard 4M 128k'],
                    options='extended_l2=on,cluster_size=128k'),
              Layer('zstd.qcow2', size, ['write -c -P 4 3M 4k', 'write -z -u 6M 64k'],
                    options='compression_type=zstd,cluster_size=4k'),
              Layer('data.qcow2', size, ['write -P 5 0 1k', 'write -P 5 5M 1k'], options='data_file=data.raw'),
              Layer('huge.qcow2', size, ['write -P 6 %d 512' % (8 * MiB)], options='cluster_size=2M'),
              Layer('tiny.qcow2', size, ['write -P 7 1300000 1'], options='cluster_size=512')]
    build(work, layers)
    for since in (0, 3):
        synth_since(work, layers, since, granularity=4096)
        work.qcbm('bitmap', '--remove', layers[-1].name, NAME)


def case_short_layer_in_the_middle(work, since):
    """The top reads zeros behind the end of the short layer, though no layer has an entry there."""
    layers = [Layer('base.qcow2', MiB, ['write -P 1 0 1M']),
              Layer('mid.qcow2', 512 * KiB, ['write -P 2 128k 64k']),
              Layer('top.qcow2', MiB, ['write -P 3 896k 64k'])]
    build(work, layers)
    expected = synth_since(work, layers, since)
    if since == 0:
        require_equal(expected, [(128 * KiB, 192 * KiB), (512 * KiB, MiB)], 'the rule for short layers')
    else:
        require_equal(expected, [(896 * KiB, 960 * KiB)], 'BASE itself may be short')


def case_short_layer_twice(work):
    """Two short layers, a written layer between them whose data is hidden, and a base of another length."""
    layers = [Layer('base.raw', 3 * MiB + 512, ['write -P 1 0 3M'], 'raw'),
              Layer('short.qcow2', MiB + 512, ['write -P 2 0 64k'], options='cluster_size=4k'),
              Layer('long.qcow2', 4 * MiB, ['write -P 2 3800k 64k', 'write -P 2 1100k 64k']),
              Layer('shorter.qcow2', 2 * MiB, []),
              Layer('top.qcow2', 5 * MiB, ['write -P 3 4900k 4k'])]
    build(work, layers)
    for since in range(4):
        synth_since(work, layers, since, granularity=512)
        work.qcbm('bitmap', '--remove', layers[-1].name, NAME)


def case_short_layers_not_longer_below(work):
    """A layer shorter than the top, but as long as everything below it: no change, zeros on both sides."""
    layers = [Layer('base.qcow2', MiB, ['write -P 1 0 1M']),
              Layer('mid.qcow2', MiB, ['write -P 2 128k 64k']),
              Layer('top.qcow2', 3 * MiB, [])]
    build(work, layers)
    require_equal(synth_since(work, layers, 0), [(128 * KiB, 192 * KiB)], 'expected')


def case_short_top(work):
    layers = [Layer('base.qcow2', 3 * MiB, ['write -P 1 0 3M']),
              Layer('mid.qcow2', 3 * MiB, ['write -P 2 128k 64k', 'write -P 2 2M 512k']),
              Layer('top.qcow2', MiB + 512, ['write -P 2 1M 512'])]
    build(work, layers)
    require_equal(synth_since(work, layers, 0), [(128 * KiB, 192 * KiB), (MiB, MiB + 512)], 'clipped at the top')


def case_random_chain(work, seed):
    rng = random.Random(seed)
    layers = []
    for index in range(rng.choice([3, 3, 4, 5])):
        size = rng.choice([MiB, 2 * MiB, MiB + 512, 1536 * KiB, 700 * 512, 3 * MiB + 5 * 512])
        fmt = 'raw' if index == 0 and rng.random() < 0.4 else 'qcow2'
        cluster = rng.choice(['512', '4k', '64k', '64k', '2M'])
        writes = []
        for _ in range(rng.randrange(5)):
            start = rng.randrange(size // 512) * 512
            length = min(rng.choice([512, 4096, 30000, 100 * KiB, MiB]), size - start)
            if fmt == 'raw' or rng.random() < 0.6:
                writes.append('write -P %d %d %d' % (rng.randrange(1, 255), start, length))
            else:
                writes.append('%s %d %d' % (rng.choice(['write -z', 'write -z -u', 'discard']), start, length))
        folder = rng.choice(['', '', 'a/', 'b/c/'])
        layers.append(Layer('%sl%d.%s' % (folder, index, fmt), size, writes, fmt,
                            'cluster_size=%s%s' % (cluster, ',extended_l2=on' if cluster in ('64k', '2M')
                                                   and rng.random() < 0.4 else '')))
    build(work, layers)
    cluster = Qcow2(work.path(layers[-1].name)).cluster_size
    synth_since(work, layers, rng.randrange(len(layers) - 1), rng.choice([None, 512, 4096, 65536, 1 << 20]),
                cluster=cluster)


def case_names(work, how):
    """The ways to name a backing file, and to name BASE."""
    base = Layer('images/base.qcow2', MiB, ['write -P 1 0 1M'])
    mid = Layer('images/deep/mid.qcow2', MiB, ['write -P 2 128k 64k'])
    top = Layer('elsewhere/top.qcow2', MiB, ['write -P 3 512k 64k'])
    layers = [base, mid, top]
    mid.stored, top.stored = '../base.qcow2', '../images/deep/mid.qcow2'
    base_name = base.name
    if how == 'absolute':
        mid.stored, top.stored = work.path(base.name), work.path(mid.name)
    elif how == 'file-absolute':
        mid.stored, top.stored = 'file:' + work.path(base.name), 'file:' + work.path(mid.name)
    elif how == 'dots':
        mid.stored, top.stored = './/../deep/../base.qcow2', '../elsewhere/../images/./deep/mid.qcow2'
    elif how == 'same-folder':
        mid.name, top.name, mid.stored, top.stored = 'images/mid.qcow2', 'images/top.qcow2', 'base.qcow2', 'mid.qcow2'
    elif how == 'odd-characters':
        base.name, mid.stored = 'images/b a,s=e%20 ü.qcow2', '../b a,s=e%20 ü.qcow2'
        base_name = base.name
    build(work, layers)
    if how == 'base-by-other-path':
        base_name = './elsewhere/../images/base.qcow2'
    elif how == 'base-by-absolute-path':
        base_name = work.path(base.name)
    elif how == 'base-by-symlink':
        os.symlink(os.path.join('images', 'base.qcow2'), work.path('link'))
        base_name = 'link'
    elif how == 'base-by-hard-link':
        os.link(work.path(base.name), work.path('hard'))
        base_name = 'hard'
    synth_since(work, layers, 0, base_name=base_name)


def case_file_prefix_is_not_relative_to_the_image(work):
    """qemu takes the path behind 'file:' as it stands: relative to the working directory, not to the image."""
    build(work, [Layer('base.qcow2', MiB, ['write -P 1 0 1M'])])
    build(work, [Layer('sub/base.qcow2', MiB, ['write -P 9 0 1M'])])
    build(work, [Layer('sub/mid.qcow2', MiB, ['write -P 2 128k 64k'])])
    work.create('sub/top.qcow2', MiB, '', 'file:base.qcow2')
    work.io('sub/top.qcow2', 'write -P 3 512k 64k')
    chain = json.loads(work.run('qemu-img', 'info', '--backing-chain', '--output=json', 'sub/top.qcow2').out)
    qemu_takes = chain[1]['filename']
    other = {'base.qcow2': 'sub/base.qcow2', 'sub/base.qcow2': 'base.qcow2'}[qemu_takes]
    work.qcbm_refused('synth', '--since', other, 'sub/top.qcow2', NAME, unchanged=['sub/top.qcow2'])
    work.qcbm('synth', '--since', qemu_takes, 'sub/top.qcow2', NAME)
    verify(work, 'sub/top.qcow2', NAME, [(512 * KiB, 576 * KiB)], 64 * KiB)


def case_overlay_by_symlink(work):
    """Relative backing names count from the folder of the name that was given, as in qemu."""
    layers = [Layer('real/base.qcow2', MiB, ['write -P 1 0 1M']), Layer('real/top.qcow2', MiB, ['write -P 3 512k 64k'])]
    build(work, layers)
    build(work, [Layer('links/base.qcow2', MiB, ['write -P 1 0 1M'])])
    os.symlink('../real/top.qcow2', work.path('links/top.qcow2'))
    chain = json.loads(work.run('qemu-img', 'info', '--backing-chain', '--output=json', 'links/top.qcow2').out)
    qemu_takes = os.path.normpath(chain[1]['filename'])
    other = {'real/base.qcow2': 'links/base.qcow2', 'links/base.qcow2': 'real/base.qcow2'}[qemu_takes]
    work.qcbm_refused('synth', '--since', other, 'links/top.qcow2', NAME, unchanged=['real/top.qcow2'])
    work.qcbm('synth', '--since', qemu_takes, 'links/top.qcow2', NAME)
    verify(work, 'real/top.qcow2', NAME, [(512 * KiB, 576 * KiB)], 64 * KiB)


def case_raw_base_of_odd_length(work):
    """A raw file of odd length counts as rounded up to 512."""
    with open(work.path('base.raw'), 'wb') as f:
        f.write(b'\1' * 1000001)
    layers = [Layer('base.raw', 1000448, [], 'raw'), Layer('mid.qcow2', 600 * KiB, ['write -P 2 128k 64k']),
              Layer('top.qcow2', 2 * MiB, [])]
    build(work, layers[1:])
    for layer, below, fmt in ((layers[1], 'base.raw', 'raw'),):
        work.run('qemu-img', 'rebase', '-q', '-u', '-f', 'qcow2', '-b', below, '-F', fmt, layer.name)
    expected = synth_since(work, layers, 0, granularity=512)
    require_equal(expected, [(128 * KiB, 192 * KiB), (600 * KiB, 1000448)], 'expected')


def refused_with_base_there(work, says=(), files=('top.qcow2',), base='base.qcow2'):
    """With a BASE that exists but is not (or not safely) in the chain."""
    if not os.path.lexists(work.path(base)):
        work.create(base, MiB)
    work.qcbm_refused('synth', '--since', base, 'top.qcow2', NAME, says=says, unchanged=files)
    # the chain is nobody's business without --since
    work.qcbm('synth', '--dry-run', 'top.qcow2', NAME)


def case_not_in_the_chain(work):
    build(work, plain_layers())
    work.create('stranger.qcow2', 4 * MiB)
    refused_with_base_there(work, [r'stranger\.qcow2|top\.qcow2'], base='stranger.qcow2')
    work.qcbm_refused('synth', '--since', 'missing.qcow2', 'top.qcow2', NAME, says=[r'missing\.qcow2'],
                      unchanged=['top.qcow2'])


def case_no_backing_file(work):
    work.create('top.qcow2', MiB)
    refused_with_base_there(work)


def case_loop(work, length):
    names = ['top.qcow2'] + ['l%d.qcow2' % k for k in range(length - 1)]
    for name in names:
        work.create(name, MiB)
    for name, below in zip(names, names[1:] + names[:1]):
        work.run('qemu-img', 'rebase', '-q', '-u', '-f', 'qcow2', '-b', below, '-F', 'qcow2', name)
    refused_with_base_there(work, [r'loop|already|twice|itself|again'], files=names)


def case_depth(work):
    """200 layers are the limit."""
    count = 230
    for k in range(count):
        name = 'l%d.qcow2' % k
        argv = ['qemu-img', 'create', '-q', '-u', '-f', 'qcow2']
        argv += ['-b', 'l%d.qcow2' % (k - 1), '-F', 'qcow2'] if k else []
        work.run(*argv, name, '1M')
    top = 'l%d.qcow2' % (count - 1)
    work.qcbm_refused('synth', '--since', 'l0.qcow2', top, NAME, says=[r'200|deep|depth|long'], unchanged=[top, 'l0.qcow2'])
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 512k 64k', 'l%d.qcow2' % (count - 50))
    work.qcbm('synth', '--since', 'l%d.qcow2' % (count - 100), top, NAME)
    work.check(top)
    require_equal(served_dirty(work, top, [NAME])[NAME], [(512 * KiB, 576 * KiB)], 'dirty')


def case_protocol_name(work, name, fmt):
    """Names that are no local file are refused, and nobody is called."""
    work.run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', fmt, 'top.qcow2', '1M')
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(work.path('sock'))
    listener.listen(5)
    listener.setblocking(False)
    cwd_name = name.replace('SOCK', work.path('sock'))
    if cwd_name != name:
        work.run('qemu-img', 'rebase', '-q', '-u', '-f', 'qcow2', '-b', cwd_name, '-F', fmt, 'top.qcow2')
    try:
        refused_with_base_there(work)
        try:
            listener.accept()
        except BlockingIOError:
            pass
        else:
            raise Failure('a connection was made to what the image names')
    finally:
        listener.close()


def case_missing_backing_file(work):
    work.run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', 'gone.qcow2', '-F', 'qcow2', 'top.qcow2', '1M')
    refused_with_base_there(work, [r'gone\.qcow2'])


def case_missing_in_the_middle(work):
    build(work, plain_layers())
    os.unlink(work.path('one.qcow2'))
    refused_with_base_there(work, [r'one\.qcow2'])


def case_missing_format(work):
    """A raw guest disk could pretend to be qcow2: without a stored format nobody guesses."""
    build(work, plain_layers())
    path = work.path('top.qcow2')
    work.note('# by hand: no backing format in top.qcow2')
    rewrite_first_cluster(path, [e for e in Qcow2(path).extensions if e[0] != EXT_BACKING_FORMAT])
    refused_with_base_there(work, [r'format'])


def case_other_format(work):
    work.create('base.qcow2', MiB)
    work.create('top.qcow2', MiB, '', 'base.qcow2')
    path = work.path('top.qcow2')
    work.note('# by hand: backing format "vmdk"')
    rewrite_first_cluster(path, [(k, b'vmdk' if k == EXT_BACKING_FORMAT else d) for k, d in Qcow2(path).extensions])
    refused_with_base_there(work, [r'vmdk'])


def case_qcow2_that_is_none(work):
    with open(work.path('mid.qcow2'), 'wb') as f:
        f.write(b'\0' * MiB)
    work.run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', 'mid.qcow2', '-F', 'qcow2', 'top.qcow2', '1M')
    refused_with_base_there(work, [r'mid\.qcow2'])


def case_special_file(work, kind):
    """Neither hang at a FIFO nor read a folder or a character device."""
    name = {'fifo': 'pipe', 'folder': 'dir', 'device': '/dev/zero', 'socket': 'sock'}[kind]
    if kind == 'fifo':
        os.mkfifo(work.path(name))
    elif kind == 'folder':
        os.mkdir(work.path(name))
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(work.path(name))
    work.run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', 'raw', 'top.qcow2', '1M')
    refused_with_base_there(work)


def case_raw_data_file_between(work):
    """Allocation of a raw data file says nothing: refused, or everything with --force."""
    layers = [Layer('base.qcow2', MiB, ['write -P 1 0 1M']), Layer('top.qcow2', MiB, [])]
    work.create('base.qcow2', MiB)
    work.create('mid.qcow2', MiB, 'data_file=mid.raw,data_file_raw=on')
    work.create('top.qcow2', MiB, '', 'mid.qcow2')
    work.io('top.qcow2', 'write -P 3 512k 64k')
    work.qcbm('synth', '--since', 'mid.qcow2', 'top.qcow2', NAME)
    verify(work, layers[-1].name, NAME, [(512 * KiB, 576 * KiB)], 64 * KiB)


# ---- --dirty-tail -----------------------------------------------------------------------------------------------

def case_dirty_tail(work, layers_count):
    layers = [Layer('base.raw', MiB, ['write -P 1 0 1M'], 'raw'),
              Layer('mid.qcow2', 1536 * KiB, ['write -P 2 128k 64k', 'write -P 2 1200k 4k'])][:layers_count]
    layers.append(Layer('top.qcow2', 4 * MiB + 512, ['write -P 3 512k 64k']))
    build(work, layers)
    own = ranges_outward([(512 * KiB, 576 * KiB)], 64 * KiB, layers[-1].size)
    work.qcbm('synth', 'top.qcow2', 'plain')
    verify(work, 'top.qcow2', 'plain', own, 64 * KiB)
    work.qcbm('synth', '--dirty-tail', 'top.qcow2', 'tail')
    verify(work, 'top.qcow2', 'tail', ranges_or(own, [(layers[-2].size, layers[-1].size)]), 64 * KiB)


# ---- --into -----------------------------------------------------------------------------------------------------

def overlay_of(work, size=4 * MiB, options='cluster_size=64k', writes=('write -P 3 512k 100k', 'write -z 3M 64k')):
    build(work, [Layer('base.qcow2', 4 * MiB, ['write -P 1 0 1M']), Layer('top.qcow2', size, writes, options=options)])
    return work.map_allocated('top.qcow2')


def case_into_base(work):
    dirty = overlay_of(work)
    top = digest(work.path('top.qcow2'))
    kept = Qcow2(work.path('base.qcow2')).kept_state()
    work.qcbm('synth', '--into', 'base.qcow2', 'top.qcow2', NAME)
    require(digest(work.path('top.qcow2')) == top, 'synth --into wrote to the overlay')
    verify(work, 'base.qcow2', NAME, dirty, 64 * KiB)
    require_kept(kept, Qcow2(work.path('base.qcow2')).kept_state(), '--into')


def case_into_after_commit(work):
    """The use for it: commit the overlay into its base, and tell the base's bitmap what came."""
    dirty = overlay_of(work)
    work.qcbm('synth', '--disabled', 'top.qcow2', NAME)
    work.qcbm('synth', '--disabled', '--into', 'base.qcow2', 'top.qcow2', NAME)
    work.run('qemu-img', 'commit', '-q', '-f', 'qcow2', 'top.qcow2')
    verify(work, 'base.qcow2', NAME, dirty, 64 * KiB, enabled=False)


def case_into_other_cluster_size(work, cluster, granularity):
    dirty = overlay_of(work)
    work.create('copy.qcow2', 4 * MiB, 'cluster_size=%d' % cluster)
    g = granularity or default_granularity(cluster)
    work.qcbm('synth', *(['-g', granularity] if granularity else []), '--into', 'copy.qcow2', 'top.qcow2', NAME)
    verify(work, 'copy.qcow2', NAME, ranges_outward(dirty, g, 4 * MiB), g)


def case_into_longer(work):
    dirty = overlay_of(work, size=3 * MiB + 512, writes=['write -P 3 512k 100k', 'write -P 3 3M 512'])
    work.create('copy.qcow2', 9 * MiB)
    work.qcbm('synth', '-g', MiB, '--into', 'copy.qcow2', 'top.qcow2', NAME)
    verify(work, 'copy.qcow2', NAME, ranges_outward(dirty, MiB, 9 * MiB), MiB)


def case_into_shorter(work):
    """Nothing dirty past its end: fine. One dirty cluster past its end: refused."""
    overlay_of(work, writes=['write -P 3 512k 64k'])
    work.create('copy.qcow2', MiB + 512)
    work.qcbm('synth', '--into', 'copy.qcow2', 'top.qcow2', NAME)
    verify(work, 'copy.qcow2', NAME, [(512 * KiB, 576 * KiB)], 64 * KiB)
    work.io('top.qcow2', 'write -P 3 2M 512')
    work.qcbm_refused('synth', '--into', 'copy.qcow2', 'top.qcow2', 'other', unchanged=['copy.qcow2', 'top.qcow2'])


def case_into_shorter_by_a_part_of_a_cluster(work):
    """The last cluster of the image that gets it ends where a dirty cluster of the overlay goes on."""
    overlay_of(work, writes=['write -P 3 1M 64k'])
    work.create('copy.qcow2', MiB + 512)
    work.qcbm_refused('synth', '--into', 'copy.qcow2', 'top.qcow2', NAME, unchanged=['copy.qcow2', 'top.qcow2'])


def case_into_since(work):
    layers = plain_layers()
    build(work, layers)
    expected = expected_ranges(work, layers, 0)
    work.create('copy.qcow2', 4 * MiB, 'cluster_size=4k')
    work.qcbm('synth', '--since', 'base.qcow2', '--into', 'copy.qcow2', 'top.qcow2', NAME)
    verify(work, 'copy.qcow2', NAME, ranges_outward(expected, 4 * KiB, 4 * MiB), 4 * KiB)


def case_into_since_base_itself(work):
    """BASE gets the bitmap while it is also the end of the chain that is read."""
    layers = plain_layers()
    build(work, layers)
    expected = expected_ranges(work, layers, 0)
    work.qcbm('synth', '--since', 'base.qcow2', '--into', 'base.qcow2', 'top.qcow2', NAME)
    verify(work, 'base.qcow2', NAME, expected, 64 * KiB)


def case_into_refused(work):
    overlay_of(work)
    work.create('v2.qcow2', 4 * MiB, 'compat=0.10')
    work.qcbm_refused('synth', '--into', 'v2.qcow2', 'top.qcow2', NAME, says=[r'qemu-img amend -o compat=1\.1'],
                      file='v2.qcow2', unchanged=['v2.qcow2'])
    work.qcbm_refused('synth', '--into', 'missing.qcow2', 'top.qcow2', NAME, file='missing.qcow2')
    work.create('raw.raw', MiB)
    work.run('qemu-img', 'create', '-q', '-f', 'raw', 'r.raw', MiB)
    work.qcbm_refused('synth', '--into', 'r.raw', 'top.qcow2', NAME, file='r.raw', unchanged=['r.raw'])


# ---- a bitmap of that name exists ---------------------------------------------------------------------------------

def with_old_bitmap(work, flags=(), granularity=16 * KiB):
    dirty = overlay_of(work)
    work.run('qemu-img', 'bitmap', '--add', '-g', granularity, '-f', 'qcow2', 'top.qcow2', NAME)
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'top.qcow2', 'other')
    work.io('top.qcow2', 'write -P 4 2M 1k')
    for flag in flags:
        work.run('qemu-img', 'bitmap', flag, '-f', 'qcow2', 'top.qcow2', NAME)
    dirty = ranges_or(dirty, [(2 * MiB, 2 * MiB + 64 * KiB)])
    image = Qcow2(work.path('top.qcow2'))
    return dirty, image.kept_state(), image.bitmap_content(image.bitmap('other'))


def others_kept(work, kept, other):
    image = Qcow2(work.path('top.qcow2'))
    require_kept(kept, image.kept_state(), 'synth')
    require_equal(image.bitmap_content(image.bitmap('other')), other, 'the other bitmap')
    require_equal(len(image.bitmaps()), 2, 'number of bitmaps')


def case_exists(work):
    with_old_bitmap(work)
    for extra in ([], ['--dry-run'], ['-g', '64k'], ['--disabled']):
        work.qcbm_refused('synth', *extra, 'top.qcow2', NAME, says=['already exists'], unchanged=['top.qcow2'])


def case_replace(work, granularity, disabled):
    dirty, kept, other = with_old_bitmap(work, ['--disable'])
    extra = (['-g', granularity] if granularity else []) + (['--disabled'] if disabled else [])
    was = digest(work.path('top.qcow2'))
    work.qcbm('synth', '--replace', '--dry-run', *extra, 'top.qcow2', NAME)
    require(digest(work.path('top.qcow2')) == was, 'a dry run wrote')
    work.qcbm('synth', '--replace', *extra, 'top.qcow2', NAME)
    g = granularity or 16 * KiB  # that of the old one
    verify(work, 'top.qcow2', NAME, ranges_outward(dirty, g, 4 * MiB), g, enabled=not disabled)
    others_kept(work, kept, other)


def case_merge(work, granularity, flags):
    """OR with the bits that are there; granularity and state stay as they are."""
    dirty = overlay_of(work)
    work.run('qemu-img', 'bitmap', '--add', '-g', granularity, '-f', 'qcow2', 'top.qcow2', NAME)
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'top.qcow2', 'other')
    work.io('top.qcow2', 'write -P 4 2M 1k')
    # bits of which allocation knows nothing: from a bitmap of another image
    work.create('foreign.qcow2', 4 * MiB)
    work.run('qemu-img', 'bitmap', '--add', '-g', 512, '-f', 'qcow2', 'foreign.qcow2', 'x')
    work.io('foreign.qcow2', 'write -P 4 1234432 512', 'write -P 4 3900k 100k')
    work.run('qemu-img', 'bitmap', '--merge', 'x', '-b', 'foreign.qcow2', '-F', 'qcow2', '-f', 'qcow2', 'top.qcow2', NAME)
    for flag in flags:
        work.run('qemu-img', 'bitmap', flag, '-f', 'qcow2', 'top.qcow2', NAME)
    old = served_dirty(work, 'top.qcow2', [NAME])[NAME]
    require(any(s <= 1234432 < e for s, e in old), 'the test is wrong: no foreign bit')
    image = Qcow2(work.path('top.qcow2'))
    kept, other = image.kept_state(), image.bitmap_content(image.bitmap('other'))
    dirty = work.map_allocated('top.qcow2')
    was = digest(work.path('top.qcow2'))
    work.qcbm('synth', '--merge', '--dry-run', 'top.qcow2', NAME)
    require(digest(work.path('top.qcow2')) == was, 'a dry run wrote')
    work.qcbm('synth', '--merge', 'top.qcow2', NAME)
    verify(work, 'top.qcow2', NAME, ranges_or(old, ranges_outward(dirty, granularity, 4 * MiB)), granularity,
           enabled='--disable' not in flags)
    others_kept(work, kept, other)


def case_replace_and_merge_of_none(work):
    """NAME may exist, it need not."""
    dirty = overlay_of(work)
    work.qcbm('synth', '--replace', 'top.qcow2', 'a')
    work.qcbm('synth', '--merge', '-g', '4k', 'top.qcow2', 'b')
    verify(work, 'top.qcow2', 'a', dirty, 64 * KiB)
    verify(work, 'top.qcow2', 'b', dirty, 4 * KiB)
    work.qcbm('synth', '--replace', '--merge', 'top.qcow2', 'c', rc=1)
    require('c' not in work.info_bitmaps('top.qcow2'), '--replace with --merge made a bitmap')


def case_in_use(work):
    """An inconsistent bitmap of that name: never merged into, and the image stays sound whatever is done."""
    dirty = overlay_of(work)
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'top.qcow2', NAME)
    work.run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', 'top.qcow2', 'good')
    path = work.path('top.qcow2')
    entry = Qcow2(path).bitmap(NAME)
    work.note('# by hand: IN_USE in the entry of %s' % NAME)
    with open(path, 'r+b') as f:
        f.seek(entry.entry_offset + 12)
        f.write((entry.flags | 1).to_bytes(4, 'big'))
    work.qcbm_refused('synth', 'top.qcow2', NAME, says=['already exists'], unchanged=['top.qcow2'])
    work.qcbm_refused('synth', '--merge', 'top.qcow2', NAME, says=['inconsistent|in use'], unchanged=['top.qcow2'])
    work.qcbm('synth', '--disabled', 'top.qcow2', 'new')
    work.check('top.qcow2')
    require_equal(work.info_bitmaps('top.qcow2')[NAME][1], ['auto', 'in-use'], 'the inconsistent one')
    require_equal(served_dirty(work, 'top.qcow2', ['new', 'good']), {'new': dirty, 'good': []}, 'dirty')


CASES = [(case_plain, 'plain-since-%d-%s' % (since, fmt), {'since': since, 'fmt': fmt})
         for since in (0, 1, 2) for fmt in ('qcow2', 'raw')]
CASES += [
    (case_kinds_of_layers, 'kinds-of-layers', {}),
    (case_short_layer_in_the_middle, 'short-layer-in-the-middle', {'since': 0}),
    (case_short_layer_in_the_middle, 'short-layer-is-base', {'since': 1}),
    (case_short_layer_twice, 'short-layer-twice', {}),
    (case_short_layers_not_longer_below, 'short-layer-not-longer-below', {}),
    (case_short_top, 'short-top', {}),
    (case_file_prefix_is_not_relative_to_the_image, 'file-prefix-relative', {}),
    (case_overlay_by_symlink, 'overlay-by-symlink', {}),
    (case_raw_base_of_odd_length, 'raw-base-of-odd-length', {}),
    (case_not_in_the_chain, 'not-in-the-chain', {}),
    (case_no_backing_file, 'no-backing-file', {}),
    (case_depth, 'depth', {}),
    (case_missing_backing_file, 'missing-backing-file', {}),
    (case_missing_in_the_middle, 'missing-in-the-middle', {}),
    (case_missing_format, 'missing-format', {}),
    (case_other_format, 'other-format', {}),
    (case_qcow2_that_is_none, 'qcow2-that-is-none', {}),
    (case_raw_data_file_between, 'raw-data-file-is-base', {}),
    (case_into_base, 'into-base', {}),
    (case_into_after_commit, 'into-after-commit', {}),
    (case_into_longer, 'into-longer', {}),
    (case_into_shorter, 'into-shorter', {}),
    (case_into_shorter_by_a_part_of_a_cluster, 'into-shorter-by-a-part', {}),
    (case_into_since, 'into-since', {}),
    (case_into_since_base_itself, 'into-since-base-itself', {}),
    (case_into_refused, 'into-refused', {}),
    (case_exists, 'exists', {}),
    (case_replace_and_merge_of_none, 'replace-and-merge-of-none', {}),
    (case_in_use, 'in-use', {}),
]
CASES += [(case_names, 'names-' + how, {'how': how}) for how in
          ('folders', 'absolute', 'file-absolute', 'dots', 'same-folder', 'odd-characters', 'base-by-other-path',
           'base-by-absolute-path', 'base-by-symlink', 'base-by-hard-link')]
CASES += [(case_loop, 'loop-%d' % length, {'length': length}) for length in (1, 2, 5)]
CASES += [(case_special_file, 'special-' + kind, {'kind': kind}) for kind in ('fifo', 'folder', 'device', 'socket')]
CASES += [(case_protocol_name, 'protocol-' + label, {'name': name, 'fmt': fmt}) for label, name, fmt in (
    ('nbd', 'nbd://localhost:1/x', 'raw'), ('nbd-unix', 'nbd+unix:///?socket=SOCK', 'raw'),
    ('nbd-old', 'nbd:unix:SOCK', 'raw'), ('http', 'http://localhost:1/x.qcow2', 'qcow2'),
    ('json', 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}', 'qcow2'),
    ('json-nbd', 'json:{"driver":"nbd","path":"SOCK"}', 'raw'), ('fat', 'fat:/tmp', 'raw'),
    ('ssh', 'ssh://localhost/x', 'raw'))]
CASES += [(case_dirty_tail, 'dirty-tail-%d' % n, {'layers_count': n}) for n in (1, 2)]
CASES += [(case_into_other_cluster_size, 'into-cluster-%d-%s' % (cluster, g or 'default'),
           {'cluster': cluster, 'granularity': g})
          for cluster, g in ((512, None), (4096, None), (2 * MiB, None), (64 * KiB, 512), (512, MiB))]
CASES += [(case_replace, 'replace-%s%s' % (g or 'default', '-disabled' * off), {'granularity': g, 'disabled': off})
          for g, off in ((None, False), (512, True), (MiB, False), (16 * KiB, True))]
CASES += [(case_merge, 'merge-%d%s' % (g, ''.join(flags)), {'granularity': g, 'flags': flags})
          for g in (512, 16 * KiB, 64 * KiB, MiB) for flags in ([], ['--disable'])]


def main():
    args = arguments('qcbm synth over backing chains, against the real qemu tools')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = list(CASES)
    for k in range(400 if args.full else 40):
        cases.append((case_random_chain, 'random-%d' % k, {'seed': args.seed * 1009 + k}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
