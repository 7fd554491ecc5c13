#!/usr/bin/env python3
# delta_merge.py - `qcbm delta --merge`: any grouping of a history's deltas, in each form, leads to the same disk
#
# SPDX-License-Identifier: MIT
#
# A seed is a disk with three to five states: written to, zeroed, discarded, resized up and down; kept as a chain of
# overlays, with bitmaps, or with internal snapshots. Deltas and merged deltas are applied by delta_read.py and by
# qemu-img, and compared with what qemu-img reads of each state.
# --full: 500 seeds, and all groupings in each form. --rbd: with Ceph's `rbd merge-diff` as judge; by hand, as ceph-common
# is large.

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys

from delta_read import FORMS, READERS, apply_delta
from qtool import KiB, MiB, arguments, need_tools, patch, peek, qcbm_path, require, require_equal, run_cases

CLUSTERS = ['cluster_size=64k', 'cluster_size=4k', 'cluster_size=512', 'cluster_size=16k,extended_l2=on', 'cluster_size=2M']
SIZES = [MiB, 2 * MiB, 3 * MiB, 3 * MiB, 2 * MiB + 64 * KiB, 2 * MiB + 5 * 512, MiB + 512]


def identity(*words):
    return hashlib.md5(repr(words).encode()).hexdigest()


def writes(rng, size, first):
    """For qemu-io: of few sizes and places, so that steps write over one another."""
    out = []
    for _ in range(rng.randint(2, 6)):
        unit = rng.choice([512, 4 * KiB, 64 * KiB, 256 * KiB])
        start = rng.randrange(-(-size // unit)) * unit
        length = min(size - start, unit * rng.randint(1, 5))
        kind = 'write' if first else rng.choice(['write'] * 4 + ['zero', 'unmapped', 'discard'])
        pattern = rng.randint(1, 250)
        out.append({'write': 'write -q -P %d' % pattern, 'zero': 'write -q -z', 'unmapped': 'write -q -z -u',
                    'discard': 'discard -q'}[kind] + ' %d %d' % (start, length))
    return out


class History:
    """States 0 to n of a disk; raw(i) is a file with state i. step(i) makes state i of state i - 1."""

    def __init__(self, work, rng, name, seed):
        self.work, self.rng, self.name, self.seed = work, rng, name, seed
        self.kind = rng.choice(['chain', 'bitmap', 'snapshot'])
        self.steps = rng.randint(3, 5)
        self.options = rng.choice(CLUSTERS)
        self.sizes = [rng.choice(SIZES)]
        for _ in range(self.steps):
            size = self.sizes[-1] if rng.random() < 0.6 else rng.choice(SIZES)
            # QEMU shows old bytes of a cluster inside which a disk was cut when it grows again, and no bitmap says so
            if self.kind == 'bitmap' and size > self.sizes[-1] and self.sizes[-1] < max(self.sizes):
                size = self.sizes[-1]
            self.sizes.append(size)
        self.images = ['%s0.qcow2' % name]
        work.create(self.images[0], self.sizes[0], self.options)
        work.io(self.images[0], *writes(rng, self.sizes[0], True))
        self.keep(0)
        self.ids = [identity(seed, name, i) for i in range(self.steps + 1)]
        self.how = []
        for i in range(1, self.steps + 1):
            self.step(i)

    def raw(self, i):
        return '%s%d.raw' % (self.name, i)

    def bytes(self, i):
        with open(self.work.path(self.raw(i)), 'rb') as f:
            return f.read()

    def keep(self, i):
        self.work.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', self.images[-1], self.raw(i))

    def step(self, i):
        """Deltas are made at once: an older bitmap goes on recording."""
        work, mark, image = self.work, 'c%d' % i, self.images[-1]
        if self.kind == 'chain':
            self.images.append('%s%d.qcow2' % (self.name, i))
            work.create(self.images[-1], self.sizes[i], self.options, backing=image)
            how = [self.images[-1], '--since', image]
        elif self.kind == 'bitmap':
            work.run('qemu-img', 'bitmap', '--add', '-g', self.rng.choice(['4k', '64k', '512']), image, mark)
            how = [image, '--bitmap', mark]
        else:
            work.run('qemu-img', 'snapshot', '-c', mark, image)
            how = [image, '--since-snapshot', mark]
        image = self.images[-1]
        if self.kind != 'chain' and self.sizes[i] != self.sizes[i - 1]:
            work.run('qemu-img', 'resize', '-q', '--shrink', '-f', 'qcow2', image, self.sizes[i])
        work.io(image, *writes(self.rng, self.sizes[i], False))
        self.keep(i)
        for form in FORMS:
            work.qcbm('delta', '-q', '-O', form, '--id', self.ids[i], '--parent-id', self.ids[i - 1], *how,
                      self.delta(form, i))

    def delta(self, form, i):
        return '%s.%s.%d' % (self.name, form, i)


def info(work, delta, *options):
    return json.loads(work.qcbm('delta', '--info', '--output=json', *options, delta).out)


def merge(work, out, *deltas):
    work.qcbm('delta', '-q', '--merge', *deltas, out)
    return out


def refused(work, out, *deltas, says=('do not follow one another',)):
    before = sorted(os.listdir(work.dir))
    work.qcbm_refused('delta', '--merge', *deltas, out, says=says)
    require_equal(sorted(os.listdir(work.dir)), before, 'files after a refused merge')


def groupings(n, rng, full):
    """Trees over the numbers 1 to n: lists of lists. All of them, or some."""
    def trees(first, last):
        if first == last:
            return [first]
        return [[a, b] for m in range(first, last) for a in trees(first, m) for b in trees(m + 1, last)]

    some = [list(range(1, n + 1))] + trees(1, n)
    if n > 2:
        some += [[[1, 2]] + list(range(3, n + 1)), [1] + [list(range(2, n + 1))]]
    return some if full else rng.sample(some, min(2, len(some)))


def merge_tree(work, history, form, tree, counter):
    if isinstance(tree, int):
        return history.delta(form, tree)
    parts = [merge_tree(work, history, form, part, counter) for part in tree]
    return merge(work, 'm%d.%s' % (next(counter), form), *parts)


def cut_inside_cluster(history):
    """Made longer inside a cluster, and shorter before that, or it is not known that it was not: whole clusters cannot always say that."""
    sizes = history.sizes
    return any(b > a and a % (64 * KiB) and (history.kind == 'bitmap' or max(sizes[:i + 1]) > a)
               for i, (a, b) in enumerate(zip(sizes, sizes[1:])))


def case_seed(work, seed, full):
    rng = random.Random(seed)
    history = History(work, rng, 'h', seed)
    n, counter = history.steps, itertools.count()
    for form in FORMS if full else rng.sample(FORMS, 2):
        for i in range(1, n + 1):
            require(apply_delta(work, form, history.raw(i - 1), history.delta(form, i)) == history.bytes(i),
                    '%s: delta %d is not what changed' % (form, i))
    for form in FORMS:
        for tree in groupings(n, rng, full):
            if form == 'qcow2' and cut_inside_cluster(history):
                if not try_tree(work, history, form, tree, counter):
                    continue
            else:
                result = merge_tree(work, history, form, tree, counter)
                check_result(work, history, form, result, '--verify')
    refusals(work, history, rng)


def try_tree(work, history, form, tree, counter):
    """False if it was refused for the one reason that there is."""
    name = 'm%d.%s' % (next(counter), form)
    flat = [history.delta(form, i) for i in range(1, history.steps + 1)]
    done = work.qcbm('delta', '-q', '--merge', *flat, name, rc=(0, 1))
    if done.code:
        require('one after the other' in done.err and not os.path.exists(work.path(name)), done.err)
        return False
    check_result(work, history, form, name, '--verify')
    return True


def check_result(work, history, form, result, *options):
    n = history.steps
    require(apply_delta(work, form, history.raw(0), result) == history.bytes(n), '%s: %s is another disk' % (form, result))
    told = info(work, result, *options)
    require_equal((told['form'], told['id'], told['parent-id'], told['size-after']),
                  (form, history.ids[n], history.ids[0], history.sizes[n]), 'who the merged delta is')
    if form == 'qcow2':
        work.check(result)


def refusals(work, history, rng):
    """Flat, in another order, of another history, the same twice, mixed, damaged: all are refused, with nothing left behind."""
    form = rng.choice(FORMS)
    one, two, three = (history.delta(form, i) for i in (1, 2, 3))
    refused(work, 'never', one, three)
    refused(work, 'never', two, one)
    refused(work, 'never', one, two, two)
    other = next(f for f in FORMS if f != form)
    refused(work, 'never', one, history.delta(other, 2), says=('has the form %s' % form.replace('+', '.'),))
    foreign = History(work, random.Random(rng.random()), 'g', (history.seed, 'foreign'))
    refused(work, 'never', one, foreign.delta(form, 2))
    done = work.qcbm('delta', '-q', '--merge', '--force-parent', one, three, 'forced', rc=(0, 1))
    require(done.code == 0 or 'one after the other' in done.err, done.err)


def case_damaged(work):
    """A byte of the data is changed: a merge reads all of its deltas before it writes."""
    history = History(work, random.Random(3), 'h', 3)
    for form in FORMS:
        one, two = history.delta(form, 1), history.delta(form, 2)
        at = place_of_data(work, form, two)
        patch(work.path(two), at, bytes([peek(work.path(two), at, 1)[0] ^ 1]))
        refused(work, 'never', one, two, says=(re.escape(two), 'damaged|digest'))


def place_of_data(work, form, delta):
    if form == 'qcow2':
        rows = json.loads(work.run('qemu-img', 'map', '--output=json', '-f', 'qcow2', delta).out)
        return next(row['offset'] for row in rows if row['data'])
    first = next((o, w) for o, w in READERS[form](work.path(delta)).records if isinstance(w, bytes) and w.strip(b'\0'))
    at = next(i for i, byte in enumerate(first[1]) if byte)
    if form == 'raw+map':
        return first[0] + at
    return open(work.path(delta), 'rb').read().index(first[1]) + at


def case_pipe(work):
    """Into a pipe, and of pipes into a file; a stream without its sidecar file still knows its ids."""
    history = History(work, random.Random(5), 'h', 5)
    for form in 'rbd-diff', 'vnb', 'qcow2':
        flat = [history.delta(form, i) for i in range(1, history.steps + 1)]
        with open(work.path('piped.' + form), 'wb') as f:
            done = subprocess.run([qcbm_path(), 'delta', '--merge', *flat, '-'], cwd=work.dir, stdout=f,
                                  stderr=subprocess.PIPE, check=False)
        require(done.returncode == 0, done.stderr)
        check_result(work, history, form, 'piped.' + form)
        for delta in flat:
            if form != 'qcow2':
                os.unlink(work.path(delta + '.json'))
        if form == 'qcow2':
            merge(work, 'bare.' + form, *flat)
            check_result(work, history, form, 'bare.' + form, '--verify')
        else:
            require_equal(info(work, flat[0])['id'], history.ids[1], 'id of a bare stream')
            says = re.escape("'%s.json' is missing" % flat[0])
            work.qcbm_refused('delta', '--merge', *flat, 'bare', says=[says], file=None)
            work.qcbm_refused('delta', '--info', '--verify', flat[0], says=[says], file=None)


# ---- Ceph's own merge ------------------------------------------------------------------------------------------

def ceph_merge(work, out, *deltas):
    """rbd merge-diff takes two, "-" for stdin. It touches files alone, and complains of the configuration that is missing."""
    shutil.copy(work.path(deltas[0]), work.path(out))
    for delta in deltas[1:]:
        work.run('rbd', '--no-progress', 'merge-diff', out, delta, out + '.next')
        os.rename(work.path(out + '.next'), work.path(out))
    return out


def case_rbd(work, seed):
    """What qcbm writes is taken by Ceph, and merged to the same disk; what Ceph writes is taken by qcbm."""
    history = History(work, random.Random(seed), 'h', seed)
    n = history.steps
    flat = [history.delta('rbd-diff', i) for i in range(1, n + 1)]
    theirs = ceph_merge(work, 'ceph', *flat)
    ours = merge(work, 'ours', *flat)
    require(apply_delta(work, 'rbd-diff', history.raw(0), theirs) == history.bytes(n), "Ceph's merge is another disk")
    require(apply_delta(work, 'rbd-diff', history.raw(0), ours) == history.bytes(n), 'our merge is another disk')
    a, b = READERS['rbd-diff'](work.path(theirs)), READERS['rbd-diff'](work.path(ours))
    require_equal((a.size, a.before or history.ids[0], a.after), (b.size, b.before, b.after), 'size and names')
    again = merge(work, 'again', ceph_merge(work, 'head', *flat[:2]), *flat[2:])
    require(apply_delta(work, 'rbd-diff', history.raw(0), again) == history.bytes(n), "Ceph's merge, merged")
    for name in flat + [ours]:  # each is taken by Ceph, merged with nothing
        ceph_merge(work, 'x', name, empty_diff(work, name))


def empty_diff(work, before):
    """A diff without records behind that one."""
    delta = READERS['rbd-diff'](work.path(before))
    names = b''.join(tag + len(name).to_bytes(4, 'little') + name.encode() for tag, name in ((b'f', delta.after), (b't', 'end')))
    with open(work.path('empty'), 'wb') as f:
        f.write(b'rbd diff v1\n' + names + b's' + delta.size.to_bytes(8, 'little') + b'e')
    return 'empty'


def main():
    if '--rbd' in sys.argv:
        sys.argv.remove('--rbd')
        args = arguments('qcbm delta --merge beside rbd merge-diff', seeds=100)
        need_tools('qemu-img', 'qemu-io', 'rbd')
        run_cases(args, [(case_rbd, 'rbd-%d' % (args.seed + n), {'seed': args.seed + n}) for n in range(args.seeds)])
    args = arguments('qcbm delta --merge', seeds=0)
    need_tools('qemu-img', 'qemu-io')
    seeds = args.seeds or (500 if args.full else 6)
    cases = [(case_seed, 'seed-%d' % (args.seed + n), {'seed': args.seed + n, 'full': args.full}) for n in range(seeds)]
    run_cases(args, [(case_damaged, 'damaged', {}), (case_pipe, 'pipe', {})] + cases)


if __name__ == '__main__':
    main()
