#!/usr/bin/env python3
# undo.py - qcbm undo: random sequences of commands taken back byte for byte, commands and undos killed at each write
#
# SPDX-License-Identifier: MIT
#
# usage: undo.py [--sequences N] [--kills N] and the options of all interop tests. The images are those of
# the crash tests, in which refcounts, header and extensions are hard to change.

import os
import random
import shutil
import subprocess
import tempfile

import qtool
from qtool import Failure, arguments, digest, need_tools, require, require_equal, run_cases

NAMES = ['b0', 'b1', 'b2', 'new', 'other', 'x' * 100]
DONOR = 'base.qcow2'


def take_shape(work, folder, name):
    """The image of one case, with what it refers to; returns its name."""
    for other in {DONOR, name} | {f for f in os.listdir(folder) if f.endswith('.raw')}:
        shutil.copy(os.path.join(folder, other), work.path(other))
    return name


# ---- random commands --------------------------------------------------------------------------------------------

def random_bitmap(rng, image):
    argv = ['bitmap']
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        verb = rng.choice(('add', 'add', 'remove', 'clear', 'enable', 'disable', 'merge'))
        argv += ['--' + verb] + ([rng.choice(NAMES)] if verb == 'merge' else [])
    if '--add' in argv and rng.random() < 0.7:
        argv += ['-g', rng.choice(('512', '4k', '64k', '1M'))]
    if '--merge' in argv and rng.random() < 0.3:
        argv += ['-b', DONOR, '-F', 'qcow2']
    return argv + [image, rng.choice(NAMES)]


def random_synth(rng, image):
    argv = ['synth', '--force']
    mode = rng.choice((None, '--replace', '--replace', '--merge'))
    argv += [mode] if mode else []
    argv += ['--disabled'] if rng.random() < 0.3 else []
    argv += ['--dirty-tail'] if rng.random() < 0.2 else []
    argv += ['-g', rng.choice(('512', '4k', '64k'))] if mode != '--merge' and rng.random() < 0.7 else []
    argv += ['--since', DONOR] if rng.random() < 0.2 else []
    if rng.random() < 0.2:
        return argv + ['--into', image, DONOR, rng.choice(NAMES)]
    return argv + [image, rng.choice(NAMES)]


def random_command(rng, image):
    return (random_bitmap if rng.random() < 0.6 else random_synth)(rng, image)


def case_sequence(work, folder, shape, seed):
    """1 to 20 commands that do something, each with an undo file; then all of them undone, the last one first."""
    rng = random.Random(seed)
    image = take_shape(work, folder, shape)
    donor = digest(work.path(DONOR))
    states = [(digest(work.path(image)), None)]
    count = rng.randint(1, 20)
    for attempt in range(400):
        undo = 'undo.%d' % len(states)
        result = work.qcbm(*random_command(rng, image), '--undo', undo, rc=(0, 1))
        if result.code == 0:
            states.append((digest(work.path(image)), undo))
        else:
            require(not os.path.exists(work.path(undo)), 'an undo file of a command that failed\n  ' + result.err)
            require_equal(digest(work.path(image)), states[-1][0], 'image after a command that failed')
        if len(states) > count:
            break
    require(len(states) > 1, 'no command worked')
    if len(states) > 3:
        wrong_order(work, image, states)
    for k in range(len(states) - 1, 0, -1):
        work.qcbm('undo', image, states[k][1])
        require_equal(digest(work.path(image)), states[k - 1][0], 'image with command %d undone' % k)
    require_equal(digest(work.path(DONOR)), donor, 'the other image')
    with open(os.path.join(folder, shape), 'rb') as a, open(work.path(image), 'rb') as b:
        require(a.read() == b.read(), 'not the same bytes')


def wrong_order(work, image, states):
    """The first change of several cannot be undone before the last, unless that changes nothing."""
    was = states[-1][0]
    result = work.qcbm('undo', image, states[1][1], rc=(0, 1))
    if result.code == 1:
        require('has changed since' in result.err, result.err)
    require(digest(work.path(image)) in (was, states[0][0]), 'undone out of order, and neither old nor new')
    require_equal(digest(work.path(image)) == was or len({s for s, _ in states[1:]}) == 1, True,
                  'a change was undone although others came after it')


# ---- killed -----------------------------------------------------------------------------------------------------

CALLS = ('pwrite64', 'fdatasync', 'fsync', 'ftruncate')
OPERATIONS = {
    'add': ['bitmap', '--add', '-g', '512', None, 'added'],
    'synth': ['synth', '--force', '-g', '512', None, 'made'],
    'replace': ['synth', '--force', '--replace', '-g', '4k', None, 'b0'],
    'clear': ['bitmap', '--clear', None, 'b0'],
    'disable': ['bitmap', '--disable', None, 'b0'],
    'several': ['bitmap', '--remove', '--add', '--disable', '-g', '1k', None, 'b0'],
}


def killed_at(work, call, number, argv):
    """Run the tool, killed when it enters its n-th such system call. Was it?"""
    inject = 'inject=%s:signal=KILL:when=%d' % (call, number)
    work.note('strace -f -e trace=%s -e %s qcbm %s' % (call, inject, ' '.join(argv)))
    done = subprocess.run(['strace', '-f', '-o', work.path('strace.out'), '-e', 'trace=' + call, '-e', inject,
                           qtool.QCBM, *argv], cwd=work.dir, capture_output=True, text=True,
                          env=qtool.strace_environment())
    require(done.returncode in (0, -9, 137), '%s\n  exit code %d: %s' % (work.log[-1], done.returncode, done.stderr))
    return done.returncode != 0


def undo_whatever(work, image, before):
    """After a kill QEMU finds leaks at most, and the undo file gives the old bytes back, or says that the image was not
    touched yet."""
    work.run('qemu-img', 'check', '-q', '-f', 'qcow2', image, rc=(0, 3))
    if os.path.exists(work.path('undo')):
        result = work.qcbm('undo', image, 'undo', rc=(0, 1))
        require(result.code == 0 or 'is incomplete' in result.err, result.err)
    require_equal(digest(work.path(image)), before, 'image, undone')


def case_killed(work, folder, shape, operation, step):
    image = take_shape(work, folder, shape)
    argv = [image if a is None else a for a in OPERATIONS[operation]] + ['--undo', 'undo']
    before, kills = digest(work.path(image)), {}
    shutil.copy(work.path(image), work.path('start'))
    for call in CALLS:
        number = 1
        while killed_at(work, call, number, argv):
            undo_whatever(work, image, before)
            restart(work, image)
            number += step
        kills[call] = number - 1
        restart(work, image)
    require(kills['pwrite64'] > 3 and kills['fdatasync'] > 2 and kills['fsync'] > 0, 'few kills: %r' % kills)
    work.qcbm(*argv)
    shutil.copy2(work.path(image), work.path('changed'))  # with the time, by which an undo sees that nobody wrote since
    undo_killed(work, image, before, step)


def undo_killed(work, image, before, step):
    undo, grown = ['undo', '-q', image, 'undo'], os.path.getsize(work.path(image)) > os.path.getsize(work.path('start'))
    for call in ('pwrite64', 'fdatasync', 'ftruncate'):
        number = 1
        while killed_at(work, call, number, undo):
            if number % 2:  # once more, and again not to the end
                killed_at(work, call, 1, undo)
            undo_whatever(work, image, before)
            shutil.copy2(work.path('changed'), work.path(image))
            number += step
        require(number > 1 or (call == 'ftruncate' and not grown), 'not killed at ' + call)
        require_equal(digest(work.path(image)), before, 'image, undone in peace')
        shutil.copy2(work.path('changed'), work.path(image))


def restart(work, image):
    shutil.copy(work.path('start'), work.path(image))
    if os.path.exists(work.path('undo')):
        os.unlink(work.path('undo'))


# ---- a guest in between -----------------------------------------------------------------------------------------

def case_guest_in_between(work, folder, shape, writes):
    """A guest that allocated a cluster, or one whose bitmap recorded a write, makes the undo file useless."""
    image = take_shape(work, folder, shape)
    work.qcbm('bitmap', '--add', image, 'added', '--undo', 'undo')
    work.io(image, writes)
    changed = digest(work.path(image))
    work.qcbm_refused('undo', image, 'undo', says=['has changed since'], file=image, unchanged=[image, 'undo'])
    work.qcbm_refused('undo', '--dry-run', image, 'undo', says=['has changed since'], file=image, unchanged=[image])
    require_equal(digest(work.path(image)), changed, 'image')


def main():
    args = arguments('qcbm undo: sequences of commands taken back, kills', sequences=20, kills=2)
    need_tools('qemu-img', 'qemu-io', 'strace')
    with tempfile.TemporaryDirectory(prefix='qcbm') as folder:
        qtool.fixtures().fill(folder, qtool.fixtures().cases('crash'))
        shapes = sorted(f for f in os.listdir(folder) if f.endswith('.qcow2') and f != DONOR)
        rng = random.Random(args.seed)
        deck = [s for _ in range(-(-args.sequences // len(shapes))) for s in rng.sample(shapes, len(shapes))]
        cases = [(case_sequence, 'sequence-%d-%s' % (k, deck[k][:-6]),
                  {'folder': folder, 'shape': deck[k], 'seed': args.seed * 1009 + k}) for k in range(args.sequences)]
        pairs = [(s, o) for s in ('two-512.qcow2', 'block.qcow2', 'refcount-1.qcow2', 'longname-4096.qcow2',
                                  'subclusters.qcow2', 'table.qcow2', 'snapshots.qcow2')
                 for o in ('add', 'synth', 'replace', 'several', 'clear', 'disable')
                 if o in ('add', 'synth') or s in ('two-512.qcow2', 'refcount-1.qcow2', 'subclusters.qcow2',
                                                   'snapshots.qcow2')]
        step = 1 if args.kills >= len(pairs) else 3
        cases += [(case_killed, 'killed-%s-%s' % (s[:-6], o), {'folder': folder, 'shape': s, 'operation': o, 'step': step})
                  for s, o in rng.sample(pairs, min(args.kills, len(pairs)))]
        cases += [(case_guest_in_between, 'guest-%s' % s[:-6], {'folder': folder, 'shape': s, 'writes': 'write 16k 4k'})
                  for s in ('two-4096.qcow2', 'first-65536.qcow2', 'subclusters.qcow2')]
        run_cases(args, cases)


if __name__ == '__main__':
    main()
