#!/usr/bin/env python3
# checkpoint.py - qcbm checkpoint create and recover, beside QEMU: killed, with a guest in between, two at once
# SPDX-License-Identifier: MIT
#
# strace delivers SIGKILL when the n-th call that changes something begins. What is left is recovered, and judged by qemu-img,
# qemu-io and the reader of qcow2 images of qtool.py.
#
# Environment: QCBM = the command.
import json
import os
import subprocess

import qtool
from qtool import KiB, MiB, Qcow2, arguments, need_tools, require, require_equal, run_cases

CALLS = ('pwrite64', 'fdatasync', 'fsync', 'link', 'unlink', 'symlink', 'ftruncate')
DISKS = ('vda', 'vdb', 'vdc')
JOURNAL = 'C1.qcbm-checkpoint'


def machine(work, n=3):
    """Disks with data; the first with a bitmap that records, the second with one that does not."""
    for i in range(n):
        name = DISKS[i] + '.qcow2'
        work.create(name, '8M', 'cluster_size=%d' % (64 * KiB if i else 4 * KiB))
        work.io(name, 'write -P %d 0 1M' % (i + 1))
    work.run('qemu-img', 'bitmap', '--add', 'vda.qcow2', 'old')
    work.run('qemu-img', 'bitmap', '--add', '--disable', 'vdb.qcow2', 'off')
    work.io('vda.qcow2', 'write -P 9 2M 64k')


def words(n=3, overlays=False):
    out = ['checkpoint', 'create', 'C1']
    for d in DISKS[:n]:
        out += ['--disk', '%s=%s.qcow2' % (d, d)]
        if overlays:
            out += ['--overlay', '%s=%s-2.qcow2' % (d, d)]
    return out


def bitmaps(work, image):
    return {b.name.decode(): (b.enabled, b.in_use, tuple(qcow2.bitmap_dirty(b)))
            for qcow2 in [Qcow2(work.path(image))] for b in qcow2.bitmaps()}


def save(work):
    return {name: open(work.path(name), 'rb').read() for name in os.listdir(work.dir)}


def restore(work, files):
    for name in os.listdir(work.dir):
        os.unlink(work.path(name))
    for name, content in files.items():
        with open(work.path(name), 'wb') as f:
            f.write(content)


def run_killed(work, argv, call, n):
    """Killed when the n-th @call begins: was it? (False: there are not so many.)"""
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
    done = subprocess.run(['strace', '-f', '-o', '/dev/null', '-e', 'trace=' + call, '-e',
                           'inject=%s:signal=KILL:when=%d' % (call, n), qtool.QCBM, *argv], cwd=work.dir, env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=qtool.COMMAND_TIMEOUT)
    require(done.returncode in (-9, 137, 0), 'killed at %s %d: exit code %d' % (call, n, done.returncode))
    return done.returncode != 0


def has_checkpoint(work, n, overlays):
    tops = ['%s%s.qcow2' % (d, '-2' if overlays else '') for d in DISKS[:n]]
    return [os.path.exists(work.path(t)) and 'C1' in bitmaps(work, t) for t in tops], tops


def judge(work, n, overlays, what):
    """All disks have it, or none; QEMU finds nothing wrong but leaks; nothing is left."""
    have, tops = has_checkpoint(work, n, overlays)
    require(len(set(have)) == 1, '%s: %r' % (what, have))
    for name in os.listdir(work.dir):
        require(not name.endswith(('.qcbm-journal', '.qcbm-new', '.qcbm-checkpoint')), '%s: %s is left' % (what, name))
    for i, d in enumerate(DISKS[:n]):
        top = tops[i] if have[0] else d + '.qcow2'
        done = work.run('qemu-img', 'check', '-f', 'qcow2', top, rc=(0, 3))
        require('ERROR' not in done.out + done.err, '%s: %s' % (what, done.out))
        work.io(top, 'read -P %d 0 1M' % (i + 1))
    if have[0]:
        require_equal(bitmaps(work, tops[0])['C1'], (True, False, ()), what)
    old = bitmaps(work, 'vda.qcow2')['old']
    require_equal(old, (True, False, ((2 * MiB, 2 * MiB + 64 * KiB),)), what + ': the other bitmap')
    return have[0]


# ---- cases ------------------------------------------------------------------------------------------------------

def qemu_agrees(work):
    """QEMU takes what is made, and goes on recording in it."""
    machine(work)
    work.qcbm(*words())
    for d in DISKS:
        work.check(d + '.qcow2')
        work.io(d + '.qcow2', 'write -P 7 4M 64k')
        require_equal(bitmaps(work, d + '.qcow2')['C1'], (True, False, ((4 * MiB, 4 * MiB + 64 * KiB),)), d)


def overlays_are_images(work):
    machine(work)
    work.qcbm(*words(overlays=True))
    for i, d in enumerate(DISKS):
        top = d + '-2.qcow2'
        work.check(top)
        work.run('qemu-img', 'compare', d + '.qcow2', top)
        info = work.info(top)
        require_equal((info['backing-filename'], info['backing-filename-format'], info['virtual-size']),
                      (d + '.qcow2', 'qcow2', 8 * MiB), top)
        require_equal(info['cluster-size'], 64 * KiB if i else 4 * KiB, top)
        work.io(top, 'write -P 7 4M 64k')
    require_equal(sorted(bitmaps(work, 'vda-2.qcow2')), ['C1', 'old'], 'what records goes on')
    require_equal(sorted(bitmaps(work, 'vdb-2.qcow2')), ['C1'], 'what does not is left out')
    require_equal(bitmaps(work, 'vda-2.qcow2')['old'], (True, False, ((4 * MiB, 4 * MiB + 64 * KiB),)), 'old')


def recover_killed(work, overlays, call, n):
    if os.path.lexists(work.path('vda.qcow2.qcbm-journal')):
        work.qcbm_refused('bitmap', '--add', 'vda.qcow2', 'x', says=['checkpoint recover .*' + JOURNAL])
    if os.path.exists(work.path(JOURNAL)) and n % 3 == 0:
        run_killed(work, ['checkpoint', 'recover', JOURNAL], CALLS[n % 4], 1 + n % 5)
    if os.path.exists(work.path(JOURNAL)):
        way = json.loads(work.qcbm('checkpoint', 'recover', '--output=json', JOURNAL).out)
        require_equal(way['supersets'], 0, 'nobody wrote')
    if os.path.exists(work.path(JOURNAL + '.qcbm-new')):  # of a journal that was never there
        os.unlink(work.path(JOURNAL + '.qcbm-new'))
    return judge(work, 2, overlays, 'killed at %s %d' % (call, n))


def killed_anywhere(work, overlays, step):
    machine(work, 2)
    files, seen = save(work), set()
    for k, call in enumerate(CALLS):
        for n in range(1 + k % step, 500, step):
            restore(work, files)
            if not run_killed(work, words(2, overlays), call, n):
                break
            seen.add(recover_killed(work, overlays, call, n))
    require_equal(seen, {False, True}, 'the ways that were gone')


def stop_when_decided(work, argv):
    """Killed at the first flush behind the decision: the journal says so, no disk is switched."""
    files = save(work)
    for n in range(1, 500):
        restore(work, files)
        require(run_killed(work, argv, 'fdatasync', n), 'it was never decided')
        if os.path.exists(work.path(JOURNAL)) and b'QCBMDCDE' in open(work.path(JOURNAL), 'rb').read():
            return


def a_guest_in_between(work, overlays, disk, covers, at=512 * KiB):
    """It writes, and to what was allocated before: no table tells. The bitmap has it all the same, and that is said."""
    machine(work, 2)
    argv = words(2, overlays)
    stop_when_decided(work, argv)
    image = disk + '.qcow2'
    work.io(image, 'write -P 77 %d 64k' % at)
    told = json.loads(work.qcbm('checkpoint', 'recover', '--output=json', JOURNAL).out)
    rows = {row['disk']: row for row in told['disks']}
    require_equal((told['direction'], told['supersets'], rows[disk]['outcome'], rows[disk]['stand-in']),
                  ('forward', 1, 'superset', covers), 'what is told')
    have, tops = has_checkpoint(work, 2, overlays)
    require_equal(have, [True, True], 'the checkpoint')
    i = DISKS.index(disk)
    enabled, in_use, dirty = bitmaps(work, tops[i])['C1']
    require((enabled, in_use) == (True, False), 'it records')
    require(any(a <= at and b >= at + 64 * KiB for a, b in dirty), 'what the guest wrote is dirty: %r' % (dirty,))
    require_equal(bitmaps(work, tops[1 - i])['C1'], (True, False, ()), 'the other disk')
    work.io(tops[i], 'read -P 77 %d 64k' % at)
    for top in tops:
        work.run('qemu-img', 'check', '-f', 'qcow2', top, rc=(0, 3))


def a_guest_below_a_named_overlay(work, freeze):
    """Killed at each call from the first name on: the guest runs on the old image of each disk, and no overlay lacks that."""
    machine(work, 2)
    files, argv, seen = save(work), words(2, True) + ['--freeze'] * freeze, 0
    for call in ('pwrite64', 'fdatasync', 'unlink'):
        for n in range(1, 500):
            restore(work, files)
            if not run_killed(work, argv, call, n):
                break
            if not os.path.exists(work.path('vda-2.qcow2')) or not os.path.exists(work.path(JOURNAL)):
                continue
            what, seen = 'killed at %s %d' % (call, n), seen + 1
            for d in DISKS[:2]:
                work.io(d + '.qcow2', 'write -P 77 512k 64k')
            run_killed(work, ['checkpoint', 'recover', JOURNAL], CALLS[n % 2], 1 + n % 7)
            if os.path.exists(work.path(JOURNAL)):
                told = json.loads(work.qcbm('checkpoint', 'recover', '--output=json', JOURNAL).out)
                require_equal(told['supersets'], 2, what)
            for d in DISKS[:2]:
                enabled, in_use, dirty = bitmaps(work, d + '-2.qcow2')['C1']
                require((enabled, in_use) == (True, False), what)
                require(any(a <= 512 * KiB and b >= 576 * KiB for a, b in dirty), '%s: %s: %r' % (what, d, dirty))
                work.run('qemu-img', 'check', '-f', 'qcow2', d + '-2.qcow2', rc=(0, 3))
            old = [span for i in ('vda.qcow2', 'vda-2.qcow2') for span in bitmaps(work, i)['old'][2]]
            require(any(a <= 512 * KiB and b >= 576 * KiB for a, b in old), '%s: the older one: %r' % (what, old))
    require(seen >= 4, 'killed behind the first name: %d' % seen)


def flags_in_the_last_sector(work):
    """As qemu-img makes an image it ends with the directory of its bitmaps, within a sector, and that is all that is switched."""
    for d in DISKS[:2]:
        work.create(d + '.qcow2', '8M')
        work.run('qemu-img', 'bitmap', '--add', d + '.qcow2', 'old')
    require(os.path.getsize(work.path('vda.qcow2')) % 512, 'the test is wrong: it ends with a sector')
    stop_when_decided(work, words(2, True) + ['--freeze'])
    require_equal(bitmaps(work, 'vda.qcow2'), {'old': (True, False, ())}, 'before')
    told = json.loads(work.qcbm('checkpoint', 'recover', '--output=json', JOURNAL).out)
    require_equal((told['direction'], told['supersets']), ('forward', 0), 'what is told')
    for d in DISKS[:2]:
        require_equal(bitmaps(work, d + '.qcow2'), {'old': (False, False, ())}, d)
        require('C1' in bitmaps(work, d + '-2.qcow2'), d)
        work.run('qemu-img', 'check', '-f', 'qcow2', d + '.qcow2')


def a_guest_that_only_reads(work):
    machine(work, 2)
    stop_when_decided(work, words(2))
    work.run('qemu-io', '-r', '-f', 'qcow2', '-c', 'read 0 64k', 'vda.qcow2')
    told = json.loads(work.qcbm('checkpoint', 'recover', '--output=json', JOURNAL).out)
    require_equal((told['direction'], told['supersets']), ('forward', 0), 'nobody wrote')
    judge(work, 2, False, 'a reader')


def refused_while_open(work):
    """Whatever writes; and what reads goes on."""
    machine(work, 2)
    stop_when_decided(work, words(2))
    for argv in (['bitmap', '--add', 'vda.qcow2', 'x'], ['synth', '--replace', 'vdb.qcow2', 'off'], ['check', '-r', 'leaks', 'vda.qcow2'],
                 ['edit', '--force', 'vda.qcow2', 'header size: 8388608=8388096'],
                 ['checkpoint', 'create', 'C2', '--disk', 'vda=vda.qcow2'], ['bitmap', '--prune', 'o*', 'vdb.qcow2']):
        work.qcbm_refused(*argv, says=['checkpoint recover .*' + JOURNAL], unchanged=['vda.qcow2', 'vdb.qcow2'])
    work.qcbm('bitmap', '--list', 'vda.qcow2')
    work.qcbm('check', 'vda.qcow2', rc=(0, 3))
    os.rename(work.path('vdb.qcow2'), work.path('away'))
    work.qcbm_refused('checkpoint', 'recover', JOURNAL, says=['vdb'], unchanged=['vda.qcow2'])
    os.rename(work.path('away'), work.path('vdb.qcow2'))
    work.qcbm('checkpoint', 'recover', JOURNAL)
    judge(work, 2, False, 'recovered')
    work.qcbm_refused('checkpoint', 'recover', JOURNAL)


def stale_is_no_bitmap(work):
    """What another program made stale would go with the first write: mended first, or at the owner's word."""
    for words in ([], ['--overlay', 'vda=top.qcow2', '--freeze']):
        work.create('vda.qcow2', '8M')
        work.run('qemu-img', 'bitmap', '--add', 'vda.qcow2', 'old')
        qtool.clear_feature_bits(work.path('vda.qcow2'), 'autoclear', 1)
        command = ['checkpoint', 'create', 'new', '--disk', 'vda=vda.qcow2', *words]
        work.qcbm_refused(*command, says=['stale', 'mend', 'force'], unchanged=['vda.qcow2'])
        require(not os.path.exists(work.path('top.qcow2')), 'an overlay was left')
        work.qcbm(*command, '--force')


def two_at_once(work, rounds):
    """On overlapping disks: one has them all, the other has changed nothing; or the second came when all was done."""
    machine(work)
    files = save(work)
    for _ in range(rounds):
        restore(work, files)
        runs = [subprocess.Popen([qtool.QCBM, 'checkpoint', 'create', name, *sum((['--disk', '%s=%s.qcow2' % (d, d)] for d in disks), [])],
                                 cwd=work.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for name, disks in (('one', DISKS), ('two', DISKS[::-1]))]
        ends = [(run.communicate(), run.returncode) for run in runs]
        for name, ((_, err), code) in zip(('one', 'two'), ends):
            have = {name in bitmaps(work, d + '.qcow2') for d in DISKS}
            require_equal(have, {code == 0}, '%s: exit code %d, %s' % (name, code, err))
        require(any(code == 0 for _, code in ends), 'both failed: %r' % (ends,))
        require_equal(sorted(os.listdir(work.dir)), sorted(files), 'files')


def cases(full):
    yield qemu_agrees, 'QEMU agrees', {}
    yield overlays_are_images, 'overlays are images', {}
    for overlays in (False, True):
        yield killed_anywhere, 'killed anywhere%s' % (', overlays' if overlays else ''), \
            {'overlays': overlays, 'step': 1 if full else 4}
    yield a_guest_in_between, 'a guest in between', {'overlays': False, 'disk': 'vda', 'covers': 'old'}
    yield a_guest_in_between, 'a guest in between, where the other bitmap was dirty', \
        {'overlays': False, 'disk': 'vda', 'covers': 'old', 'at': 2 * MiB}
    yield a_guest_in_between, 'a guest in between, no other bitmap', {'overlays': False, 'disk': 'vdb', 'covers': None}
    yield a_guest_in_between, 'a guest in between, overlay', {'overlays': True, 'disk': 'vda', 'covers': 'old'}
    yield a_guest_in_between, 'a guest in between, overlay, no other bitmap', {'overlays': True, 'disk': 'vdb', 'covers': None}
    for freeze in (False, True):
        yield a_guest_below_a_named_overlay, 'a guest below a named overlay%s' % (', frozen' if freeze else ''), {'freeze': freeze}
    yield a_guest_that_only_reads, 'a guest that only reads', {}
    yield flags_in_the_last_sector, 'flags in the last sector', {}
    yield refused_while_open, 'refused while open', {}
    yield stale_is_no_bitmap, 'stale bitmaps', {}
    yield two_at_once, 'two at once', {'rounds': 40 if full else 6}


def main():
    args = arguments('checkpoints over several disks, beside QEMU')
    need_tools('qemu-img', 'qemu-io', 'strace')
    run_cases(args, list(cases(args.full)))


if __name__ == '__main__':
    main()
