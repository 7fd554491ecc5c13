#!/usr/bin/env python3
# verbs.py - the operations on bitmaps that qemu-img lacks, with qemu-nbd and nbdinfo as witness of the bits
#
# SPDX-License-Identifier: MIT

import json
import random

from qtool import (KiB, MiB, Qcow2, arguments, default_granularity, digest, need_tools, ranges_clip, ranges_norm,
                   require, require_equal, require_kept, run_cases, served_dirty)

IMAGE, OTHER = 'image.qcow2', 'other.qcow2'


class Model:
    """name -> [granularity, enabled, dirty granules], in the order of the directory; answers are found byte range by
    byte range."""

    def __init__(self, size):
        self.size, self.bitmaps = size, {}

    def copy(self):
        other = Model(self.size)
        other.bitmaps = {name: [g, on, set(dirty)] for name, (g, on, dirty) in self.bitmaps.items()}
        return other

    def ranges(self, name):
        g, _, dirty = self.bitmaps[name]
        return ranges_clip(ranges_norm([(k * g, (k + 1) * g) for k in dirty]), self.size)

    def granules(self, g):
        return [(k, k * g, min((k + 1) * g, self.size)) for k in range(-(-self.size // g))]

    def sectors(self, name):
        return {s for start, end in self.ranges(name) for s in range(start // 512, end // 512)}

    def from_sectors(self, g, sectors):
        return {s * 512 // g for s in sectors}

    def write(self, start, length):
        for entry in self.bitmaps.values():
            if entry[1]:
                entry[2] |= set(range(start // entry[0], -(-(start + length) // entry[0])))


def show(work, image):
    """name -> (granularity, enabled, dirty ranges) as the qemu tools see it, and the names in order."""
    order = [b.name.decode() for b in Qcow2(work.path(image)).bitmaps()]
    info = work.info_bitmaps(image)
    dirty = served_dirty(work, image, order)
    return order, {name: (info[name][0], info[name][1] == ['auto'], dirty[name]) for name in order}


def require_model(work, image, model):
    order, now = show(work, image)
    require_equal(order, list(model.bitmaps), 'names in %s' % image)
    require_equal(now, {name: (g, on, model.ranges(name)) for name, (g, on, _) in model.bitmaps.items()},
                  'bitmaps of %s' % image)


def verb(work, *args, image=IMAGE, name='b'):
    """One call of qcbm bitmap: the image stays sound, and nothing else in it changes."""
    before = Qcow2(work.path(image))
    kept = before.kept_state()
    result = work.qcbm('bitmap', *args, image, name)
    work.check(image)
    require_kept(kept, Qcow2(work.path(image)).kept_state(), 'qcbm bitmap')
    return result


# ---- random sequences -----------------------------------------------------------------------------------------------

def draw(rng, model, other, name, foreign):
    """An operation that succeeds: its arguments, and what it does to the model. Returns the name afterwards."""
    entry = model.bitmaps[name]
    source = rng.choice(sorted((other if foreign else model).bitmaps))
    have = (other if foreign else model).sectors(source)
    mine, g = model.sectors(name), entry[0]
    free = [n for n in ('n1', 'n2', 'n3', 'n4') if n not in model.bitmaps]
    kind = rng.choice(['merge', 'intersect', 'subtract', 'set', 'unset', 'regranularise', 'rename', 'rotate',
                       'disable'])
    if kind in ('merge', 'intersect', 'subtract'):
        exact = mine | have if kind == 'merge' else mine & have if kind == 'intersect' else mine - have
        entry[2] = model.from_sectors(g, exact)
        return ['--' + kind, source], name
    if kind in ('set', 'unset'):
        start = rng.randrange(model.size)
        end = rng.randrange(start, model.size) + 1
        if kind == 'set':
            entry[2] |= {k for k, a, b in model.granules(g) if a < end and start < b}
        else:
            entry[2] -= {k for k, a, b in model.granules(g) if start <= a and b <= end}
        return ['--' + kind, '%d:%d' % (start, end - start)], name
    if kind == 'regranularise':
        entry[0] = rng.choice([512, KiB, 4 * KiB, 32 * KiB, 256 * KiB, 2 * MiB])
        entry[2] = model.from_sectors(entry[0], mine)
        return ['--regranularise', str(entry[0])], name
    if kind == 'rename' and free:
        model.bitmaps = {free[0] if n == name else n: e for n, e in model.bitmaps.items()}
        return ['--rename', free[0]], free[0]
    if kind == 'rotate' and free and entry[1]:
        entry[1] = False
        model.bitmaps[free[0]] = [g, True, set()]
        return ['--rotate', free[0]], name
    entry[1] = False
    return ['--disable'], name


def case_random_sequence(work, seed):
    rng = random.Random(seed)
    size = rng.choice([MiB, MiB + 512, 3 * MiB + 7 * 512])
    models = {}
    for image in (IMAGE, OTHER):
        cluster = rng.choice([512, 4 * KiB, 64 * KiB])
        work.create(image, size, 'cluster_size=%d,refcount_bits=%d' % (cluster, rng.choice([1, 8, 16, 64])))
        models[image] = Model(size)
        for name in ('a', 'b', 'c'):
            g = rng.choice([512, 4 * KiB, 64 * KiB, default_granularity(cluster)])
            work.run('qemu-img', 'bitmap', '--add', '-g', g, image, name)
            models[image].bitmaps[name] = [g, True, set()]
            start = rng.randrange(size // 512) * 512
            length = min(rng.choice([512, 9 * 512, 200 * KiB]), size - start)
            work.io(image, 'write %d %d' % (start, length))
            models[image].write(start, length)
    model, other = models[IMAGE], models[OTHER]
    for _ in range(3):
        name, args, foreign = rng.choice(sorted(model.bitmaps)), [], rng.random() < 0.4
        target = name
        for _ in range(rng.randrange(1, 5)):
            more, target = draw(rng, model, other, target, foreign)
            args += more
        if foreign and {'--merge', '--intersect', '--subtract'} & set(args):
            args += ['-b', OTHER]
        verb(work, *args, name=name)
    source = rng.choice(sorted(model.bitmaps))
    form = rng.choice(['qcbm', 'raw', 'json', 'copy'])
    g, on, dirty = model.bitmaps[source]
    if form == 'copy':
        work.qcbm('bitmap', '--copy-to', OTHER, '--as', 'copy', IMAGE, source)
    else:
        work.qcbm('bitmap', '--export', 'file', '--format', form, IMAGE, source)
        work.qcbm('bitmap', '--import', 'file', '--format', form, *([] if form == 'qcbm' else ['-g', g]), '--force',
                  OTHER, 'copy')
    other.bitmaps['copy'] = [g, on or form in ('raw', 'json'), set(dirty)]
    work.check(OTHER)
    require_model(work, IMAGE, model)
    require_model(work, OTHER, other)


# ---- what users do ------------------------------------------------------------------------------------------------

def case_checkpoint(work):
    """--rotate of a stopped machine: what the guest wrote before is in one bitmap, what it writes after in the next."""
    work.create(IMAGE, 2 * MiB)
    work.run('qemu-img', 'bitmap', '--add', '-g', '4k', IMAGE, 'monday')
    work.io(IMAGE, 'write 64k 10k')
    verb(work, '--rotate', 'tuesday', name='monday')
    work.io(IMAGE, 'write 1M 4k', 'discard 1028k 4k')
    require_equal(show(work, IMAGE), (['monday', 'tuesday'], {
        'monday': (4 * KiB, False, [(64 * KiB, 76 * KiB)]), 'tuesday': (4 * KiB, True, [(MiB, MiB + 8 * KiB)])}),
        'after the checkpoint')
    work.qcbm_refused('bitmap', '--rotate', 'wednesday', IMAGE, 'monday', says=['disabled'], unchanged=[IMAGE])


def case_travel(work, layout):
    """A migration that moves the data only, and the bitmap beside it."""
    work.create(IMAGE, 3 * MiB + 512)
    work.run('qemu-img', 'bitmap', '--add', '-g', '512', IMAGE, 'b')
    work.io(IMAGE, 'write -P 7 0 1k', 'write 1M 70k', 'write %d 512' % (3 * MiB))
    work.qcbm('bitmap', '--export', 'b.file', IMAGE, 'b')
    work.run('qemu-img', 'convert', '-O', 'qcow2', *layout, IMAGE, OTHER)
    data = json.loads(work.qcbm('bitmap', '--import', 'b.file', '--output=json', OTHER, 'b').out)
    compressed = '-c' in layout
    require_equal(data['results'][0]['fingerprint'], 'unknown' if compressed else 'equal', 'fingerprint')
    work.check(OTHER)
    require_equal(show(work, OTHER), show(work, IMAGE), 'bitmaps of the copy')
    # another disk of the same size is told
    work.create('third.qcow2', 3 * MiB + 512)
    work.qcbm_refused('bitmap', '--import', 'b.file', 'third.qcow2', 'b', says=['begin'], unchanged=['third.qcow2'])
    work.create('larger.qcow2', 4 * MiB)
    work.qcbm_refused('bitmap', '--import', 'b.file', '--force', 'larger.qcow2', 'b', says=['4194304'],
                      unchanged=['larger.qcow2'])


def case_nbdinfo(work):
    """What nbdinfo prints can be imported, and what --export prints is the same."""
    work.create(IMAGE, MiB)
    work.run('qemu-img', 'bitmap', '--add', '-g', '1k', IMAGE, 'b')
    work.io(IMAGE, 'write 3k 1k', 'write 100k 90k', 'write 1023k 1k')
    with work.serve(IMAGE, ['b']) as server:
        text = server.nbdinfo('qemu:dirty-bitmap:b', '--json')
    with open(work.path('extents'), 'wb') as f:
        f.write(text)
    work.qcbm('bitmap', '--export', 'ours', '--format=json', IMAGE, 'b')
    with open(work.path('ours')) as f:
        require_equal(json.load(f), json.loads(text), 'extents by nbdinfo and by --export')
    verb(work, '--import', 'extents', '--format=json', '-g', '1k', name='again')
    now = show(work, IMAGE)[1]
    require_equal(now['again'], now['b'], 'imported from nbdinfo')


def case_prune(work):
    """Many in one commit, by version; the order of QEMU's directory would be another one."""
    work.create(IMAGE, MiB)
    for name in ('day-10', 'day-9', 'other', 'day-2', 'day-11', 'Day-1'):
        work.run('qemu-img', 'bitmap', '--add', IMAGE, name)
    was = digest(work.path(IMAGE))
    work.qcbm('bitmap', '--prune', 'day-*', '--keep', '2', '--dry-run', IMAGE)
    require(digest(work.path(IMAGE)) == was, 'a dry run wrote')
    data = json.loads(work.qcbm('bitmap', '--prune', 'day-*', '--keep', '2', '--output=json', IMAGE).out)
    require_equal((data['removed'], data['kept']), (['day-2', 'day-9'], ['day-10', 'day-11']), 'pruned')
    work.check(IMAGE)
    require_equal(show(work, IMAGE)[0], ['day-10', 'other', 'day-11', 'Day-1'], 'what is left')
    require_equal(work.qcbm('bitmap', '--prune', 'nothing*', IMAGE).out, '', 'nothing to prune')


CASES = [(case_checkpoint, 'checkpoint', {}), (case_nbdinfo, 'nbdinfo', {}), (case_prune, 'prune', {})]
CASES += [(case_travel, 'travel' + ''.join(layout), {'layout': layout})
          for layout in ([], ['-c'], ['-o', 'cluster_size=4k'], ['-o', 'extended_l2=on'], ['-S', '0'])]


def main():
    args = arguments('operations on bitmaps beyond those of qemu-img')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cases = list(CASES)
    for k in range(600 if args.full else 24):
        cases.append((case_random_sequence, 'sequence-%d' % k, {'seed': args.seed * 1013 + k}))
    run_cases(args, cases)


if __name__ == '__main__':
    main()
