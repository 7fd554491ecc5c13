#!/usr/bin/env python3
# checkpoint_recover.py - what could lead a recovery astray: moved journals, other files, runs that are still at work
# SPDX-License-Identifier: MIT
#
# What is left is made by a kill at a call (strace), as in checkpoint.py, and then somebody meddles with it.
#
# Environment: QCBM = the command. --loop 1: overlays on loop devices, for which losetup must work, killed at each call.
import json
import os
import re
import signal
import subprocess
import time

import qtool
from checkpoint import DISKS, JOURNAL, bitmaps, has_checkpoint, judge, machine, words
from checkpoint import restore, run_killed, save, stop_when_decided
from qtool import KiB, MiB, arguments, clear_feature_bits, digest, need_tools, require, require_equal, run_cases

LINKS = ['vda.qcow2.qcbm-journal', 'vdb.qcow2.qcbm-journal']


def stop_when_linked(work, argv):
    """Killed at a write behind the links: nothing is decided."""
    files = save(work)
    for n in range(1, 500):
        restore(work, files)
        require(run_killed(work, argv, 'pwrite64', n), 'it was never linked')
        if all(os.path.lexists(work.path(link)) for link in LINKS):
            return


def recover(work, *options):
    return json.loads(work.qcbm('checkpoint', 'recover', '--output=json', *options, JOURNAL).out)


def moved(work, stop):
    """By another name it is no journal of these images, and the advice brings it back."""
    machine(work, 2)
    stop(work, words(2))
    os.mkdir(work.path('away'))
    os.rename(work.path(JOURNAL), work.path('away/J'))
    for options in ([], ['--output=json'], ['--dry-run']):
        told = work.qcbm_refused('checkpoint', 'recover', *options, 'away/J', says=['belongs at', 'move', 'away/J',
                'checkpoint recover'],
                                 unchanged=['vda.qcow2', 'vdb.qcow2', 'away/J'])
    place, again = re.search(r"move '(.*/away/J)' back there",
                             told.err), re.search(r"run 'qcbm checkpoint recover (.*)'", told.err)
    require(all(os.path.lexists(work.path(link)) for link in LINKS), 'a link is gone')
    os.rename(place.group(1), again.group(1))
    work.qcbm('checkpoint', 'recover', again.group(1))
    judge_all(work)


def judge_all(work):
    if os.path.isdir(work.path('away')):
        os.rmdir(work.path('away'))
    return judge(work, 2, False, 'recovered')


def a_folder_that_is_gone(work):
    """Moved, or not mounted: nothing can be said to be as it was. A file alone that is gone has been removed."""
    for i, d in enumerate(('vda', 'vdb')):
        os.makedirs(work.path(d), exist_ok=True)
        work.create('%s/%s.qcow2' % (d, d), '8M')
    argv = ['checkpoint', 'create', 'C1', '--journal', JOURNAL] + \
        sum((['--disk', '%s=%s/%s.qcow2' % (d, d, d)] for d in ('vda', 'vdb')), [])
    for n in range(1, 500):
        require(run_killed(work, argv, 'pwrite64', n), 'it was never linked')
        if os.path.lexists(work.path('vdb/vdb.qcow2.qcbm-journal')):
            break
        work.qcbm('checkpoint', 'recover', JOURNAL) if os.path.exists(work.path(JOURNAL)) else None
    os.rename(work.path('vdb'), work.path('elsewhere'))
    work.qcbm_refused('checkpoint', 'recover', JOURNAL, says=['vdb', 'folder'], unchanged=['vda/vda.qcow2', JOURNAL])
    os.rename(work.path('elsewhere'), work.path('vdb'))
    os.unlink(work.path('vdb/vdb.qcow2'))
    told = recover(work)
    require_equal({row['disk']: row['outcome'] for row in told['disks']}, {'vda': 'taken-back', 'vdb': 'gone'},
                  'outcomes')
    require_equal((told['direction'], told['change'], told['checkpoint']), ('back', 'create', 'C1'), 'what it was')
    work.qcbm('bitmap', '--add', 'vda/vda.qcow2', 'x')


def of_another_journal(work):
    """The fence and the bitmaps of an image belong to the change that it is linked to."""
    machine(work, 2)
    stop_when_decided(work, words(2))
    os.unlink(work.path(LINKS[1]))
    with open(work.path('other'), 'wb') as f:
        f.write(b'another journal')
    os.symlink(work.path('other'), work.path(LINKS[1]))
    work.qcbm_refused('checkpoint', 'recover', JOURNAL, says=['vdb', 'another journal', 'recover .*/other'],
                      unchanged=['vda.qcow2', 'vdb.qcow2', JOURNAL])
    os.unlink(work.path(LINKS[1]))
    os.symlink(work.path(JOURNAL), work.path(LINKS[1]))
    work.qcbm('checkpoint', 'recover', JOURNAL)
    judge(work, 2, False, 'recovered')


def a_layer_of_another_journal(work):
    """Mending reads the layers that it does not change: one of an open change may have other bitmaps soon."""
    work.create('base.qcow2', '2M')
    work.run('qemu-img', 'bitmap', '--add', 'base.qcow2', 'C')
    work.create('top.qcow2', '2M', '', 'base.qcow2')
    with open(work.path('other'), 'wb') as f:
        f.write(b'another journal')
    os.symlink(work.path('other'), work.path('base.qcow2.qcbm-journal'))
    mend = ['checkpoint', 'mend', 'C', '--disk', 'vda=top.qcow2']
    work.qcbm_refused(*mend, says=['base.qcow2', 'recover .*/other'], unchanged=['top.qcow2', 'base.qcow2'])
    told = json.loads(work.qcbm('checkpoint', 'verify', '--disk', 'vda=top.qcow2', '--output=json', rc=2).out)
    require_equal(told['open-journals'], [{'journal': work.path('other'), 'disk': 'vda', 'image': 'base.qcow2'}],
                  'verify')
    require('open journal: %s vda, base.qcow2' % work.path('other') in
            work.qcbm('checkpoint', 'verify', '--disk', 'vda=top.qcow2', rc=2).out, 'verify in words')
    os.unlink(work.path('base.qcow2.qcbm-journal'))
    work.qcbm(*mend)


def the_overlay(work, make, says, outcome):
    """The file by its name must lie on the image and be whole; and what it was made for must be there."""
    machine(work, 2)
    stop_when_decided(work, words(2, True))
    make(work)
    if says:
        work.qcbm_refused('checkpoint', 'recover', JOURNAL, says=says, unchanged=['vda.qcow2', 'vdb.qcow2',
                'vda-2.qcow2'])
        return
    told = recover(work)
    require_equal({row['disk']: row['outcome'] for row in told['disks']}, {'vda': outcome, 'vdb': 'completed'},
                  'outcomes')
    require_equal(has_checkpoint(work, 2, True)[0], [True, True], 'the checkpoint')
    enabled, in_use, dirty = bitmaps(work, 'vda-2.qcow2')['C1']
    require_equal((enabled, in_use, bool(dirty)), (True, False, outcome == 'superset'), 'the bitmap')
    for d in DISKS[:2]:
        work.run('qemu-img', 'check', '-f', 'qcow2', d + '-2.qcow2')


def give_it_its_name(work):
    os.rename(work.path('vda-2.qcow2.qcbm-new'), work.path('vda-2.qcow2'))


def another_image(work):
    os.unlink(work.path('vda-2.qcow2.qcbm-new'))
    work.create('vda-2.qcow2', '8M')


def another_overlay(work):
    """On another image; and large enough."""
    os.unlink(work.path('vda-2.qcow2.qcbm-new'))
    work.create('vda-2.qcow2', '8M', '', 'vdb.qcow2')
    work.io('vda-2.qcow2', 'write 0 4M')


def no_image(work):
    os.unlink(work.path('vda-2.qcow2.qcbm-new'))
    with open(work.path('vda-2.qcow2'), 'wb') as f:
        f.write(b'text')


def without_its_bitmap(work):
    give_it_its_name(work)
    work.run('qemu-img', 'bitmap', '--remove', 'vda-2.qcow2', 'C1')


def with_it_disabled(work):
    give_it_its_name(work)
    work.run('qemu-img', 'bitmap', '--disable', 'vda-2.qcow2', 'C1')


def stale(work):
    give_it_its_name(work)
    clear_feature_bits(work.path('vda-2.qcow2'), 'autoclear', 1)


def wait_until(condition, what):
    end = time.monotonic() + qtool.COMMAND_TIMEOUT
    while not condition():
        require(time.monotonic() < end, 'never: ' + what)
        time.sleep(0.02)


def while_it_is_made(work):
    """Stopped between the journal's name and the second link, so nothing tells yet that the images belong to it."""
    machine(work, 2)
    run = subprocess.Popen(['strace', '-f', '-o', '/dev/null', '-e', 'trace=symlink', '-e',
                            'inject=symlink:signal=STOP:when=1',
                            qtool.QCBM, *words(2)], cwd=work.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env=qtool.strace_environment(), text=True)
    child = []

    def stopped():
        with open('/proc/%d/task/%d/children' % (run.pid, run.pid)) as f:
            child[:] = [int(pid) for pid in f.read().split()]
        if not child or not os.path.lexists(work.path(LINKS[0])):
            return False
        with open('/proc/%d/stat' % child[0]) as f:
            return f.read().rsplit(')', 1)[1].split()[0] in 'tT'

    try:
        wait_until(stopped, 'the command stands at its first link')
        require(not os.path.lexists(work.path(LINKS[1])), 'it is too late: the second link is there')
        for options in ([], ['--dry-run']):
            work.qcbm_refused('checkpoint', 'recover', *options, JOURNAL, says=['another command is at work'],
                              unchanged=[JOURNAL])
        work.qcbm_refused('checkpoint', 'create', 'C2', '--journal', JOURNAL, '--disk', 'vdc=vdb.qcow2',
                          says=['vdc|journal'])
    finally:
        for pid in child:
            os.kill(pid, signal.SIGCONT)
    _, err = run.communicate(timeout=qtool.COMMAND_TIMEOUT)
    require_equal(run.returncode, 0, 'the command itself: ' + err)
    require(judge(work, 2, False, 'made'), 'no checkpoint')


def undo_files(work):
    """Those of a change that is taken back are void, and not in the way of the next try; others stay."""
    machine(work, 2)
    argv, files, back = words(2) + ['--undo', 'undo'], save(work), 0
    for n in range(1, 500):
        restore(work, files)
        if not run_killed(work, argv, 'fdatasync', n):
            clear(work)
            break
        if os.path.exists(work.path(JOURNAL)) and recover(work)['direction'] == 'back':
            back += os.path.isdir(work.path('undo'))
            require_equal(os.listdir(work.path('undo')), [], 'undo files, killed at %d' % n)
            work.qcbm(*argv)
        clear(work)
    require(back > 3, 'taken back %d times' % back)
    restore(work, files)
    os.mkdir(work.path('undo'))
    with open(work.path('undo/vdb.undo'), 'wb') as f:
        f.write(b'QCBMUNDO of another change')
    work.qcbm_refused(*argv, says=['vdb', 'undo file .* is there already'], unchanged=['vda.qcow2', 'vdb.qcow2',
            'undo/vdb.undo'])
    require_equal(os.path.exists(work.path(JOURNAL)), False, 'a journal')
    clear(work)


def clear(work):
    """The folder, which restore() does not know."""
    if os.path.isdir(work.path('undo')):
        for name in os.listdir(work.path('undo')):
            os.unlink(work.path('undo/' + name))
        os.rmdir(work.path('undo'))


def others_of_a_stale_layer(work):
    """A guest of a program that knows no bitmaps in between, and one that a mend meets: what is not named is kept."""
    machine(work, 2)
    stop_when_decided(work, words(2))
    clear_feature_bits(work.path('vda.qcow2'), 'autoclear', 1)
    clear_feature_bits(work.path('vda.qcow2'), 'autoclear', 1 << 63)
    told = recover(work)
    require_equal((told['supersets'], [row['stand-in'] for row in told['disks'] if row['disk'] == 'vda']), (1,
            [None]), 'told')
    for name in ('C1', 'old'):
        require_equal(bitmaps(work, 'vda.qcow2')[name], (True, False, ((0, 8 * MiB),)), name)
    work.run('qemu-img', 'check', '-f', 'qcow2', 'vda.qcow2', rc=(0, 3))
    work.create('top.qcow2', '8M', '', 'vdb.qcow2')
    for name in ('C1', 'other'):
        work.run('qemu-img', 'bitmap', '--add', 'top.qcow2', name)
    work.io('top.qcow2', 'write 1M 64k')
    clear_feature_bits(work.path('top.qcow2'), 'autoclear', 1)
    mend = ['checkpoint', 'mend', 'C1', '--disk', 'vdb=top.qcow2']
    text = work.qcbm(*mend, '--dry-run').out
    require("bitmap 'other' of that layer: stale; would take all of it" in text, text)
    told = json.loads(work.qcbm(*mend, '--output=json', '-q').out)
    require_equal([(c['bitmap'], c['was'], c['took'], c['dirty-bytes']) for c in told['disks'][0]['changes']],
                  [('C1', 'stale', 'allocated', 64 * KiB), ('other', 'stale', 'all', 8 * MiB)], 'what is told')
    require_equal(told['disks'][0]['mended'] if 'mended' in told['disks'][0] else 1, 1, 'layers')
    require_equal(bitmaps(work, 'top.qcow2'), {'C1': (True, False, ((MiB, MiB + 64 * KiB),)), 'other': (True, False,
            ((0, 8 * MiB),))},
                  'the bitmaps')
    work.check('top.qcow2')


def many_at_once(work, rounds):
    """Runs over disks and layers that overlap, in any order: one at least goes on, and each changes all
    that it is about, or nothing. Bitmaps are added, mended and removed."""
    work.create('base.qcow2', '2M')
    for d in DISKS:
        work.create(d + '.qcow2', '2M', '', 'base.qcow2')
    for name in ('base', *DISKS):
        work.run('qemu-img', 'bitmap', '--add', name + '.qcow2', 'keep')
        work.run('qemu-img', 'bitmap', '--add', name + '.qcow2', 'drop')
    work.run('qemu-img', 'bitmap', '--remove', 'vdc.qcow2', 'keep')
    files = save(work)
    jobs = (['create', 'one'], ['vda', 'vdb']), (['create', 'two'], ['vdb', 'vdc']), (['mend', 'keep'], ['vdc',
            'vda']), \
        (['reclaim', '--keep', 'keep', '--journal', 'J'], ['vda', 'vdb'])
    for _ in range(rounds):
        restore(work, files)
        runs = [subprocess.Popen([qtool.QCBM, 'checkpoint', *words, *sum((['--disk', '%s=%s.qcow2' % (d,
                d)] for d in disks), [])],
                                 cwd=work.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for words, disks in jobs]
        ends = [(run.communicate(timeout=qtool.COMMAND_TIMEOUT)[1], run.returncode) for run in runs]
        require(any(code == 0 for _, code in ends), 'all failed: %r' % (ends,))
        require_equal(sorted(os.listdir(work.dir)), sorted(files), 'files, %r' % (ends,))
        names = {d: bitmaps(work, d + '.qcow2').keys() for d in ('base', *DISKS)}
        done = {d for d in DISKS if 'one' in names[d]}, {d for d in DISKS if 'two' in names[d]}, \
            'keep' in names['vdc'], {d for d in ('base', *DISKS) if 'drop' not in names[d]}
        require_equal(done[2], ends[2][1] == 0, 'mended: %r' % (ends,))
        require(done[3] in ({'base', 'vda', 'vdb'}, set()) and (not done[3] or ends[3][1] == 0),
                'removed: %r %r' % (done, ends))
        for k, disks in ((0, {'vda', 'vdb'}), (1, {'vdb', 'vdc'})):  # what was made before the removal went with it
            require(done[k] in (disks, set()) or (done[3] and done[k] == disks - {'vda', 'vdb'}),
                    'made: %r %r' % (done, ends))
            require(ends[k][1] == 0 or not done[k], 'failed and made it: %r %r' % (done, ends))


def on_devices(work, frozen, guest):
    """Overlays on block devices: the first sector is the switch. Killed at each call; in between a guest may run on
    the old image of the first disk."""
    machine(work, 2)
    files, devices, seen = save(work), [], set()
    try:
        for d in DISKS[:2]:
            with open(work.path(d + '.device'), 'wb') as f:
                f.truncate(4 * MiB)
            devices.append(work.run('losetup', '-f', '--show', d + '.device').out.strip())
        argv = words(2) + sum((['--overlay', '%s=%s' % one] for one in zip(DISKS, devices)), []) + ['--freeze'] * frozen
        for call in ('pwrite64', 'fdatasync', 'symlink', 'unlink'):
            for n in range(1, 500):
                for name, content in files.items():
                    with open(work.path(name), 'wb') as f:
                        f.write(content)
                for device in devices:
                    with open(device, 'wb') as f:
                        f.write(bytes(4 * MiB))
                if not run_killed(work, argv, call, n):
                    break
                what = 'killed at %s %d' % (call, n)
                if guest:
                    work.io('vda.qcow2', 'write -P 77 512k 64k')
                if os.path.exists(work.path(JOURNAL)):
                    run_killed(work, ['checkpoint', 'recover', JOURNAL], ('pwrite64', 'fdatasync')[n % 2], 1 + n % 5)
                told = recover(work) if os.path.exists(work.path(JOURNAL)) else None
                have = [open(device, 'rb').read(4) == b'QFI\xfb' and 'C1' in bitmaps(work,
                        device) for device in devices]
                require(len(set(have)) == 1, '%s: %r' % (what, have))
                require(not [name for name in os.listdir(work.dir) if name.endswith(('-journal', JOURNAL))],
                        what + ': something is left')
                require(not any(os.path.lexists(device + '.qcbm-journal') for device in devices),
                        what + ': a link in /dev is left')
                for device in devices if have[0] else ():
                    done = work.run('qemu-img', 'check', '-f', 'qcow2', device, rc=(0, 3))
                    require('ERROR' not in done.out + done.err, '%s: %s' % (what, done.out))
                dirty = bitmaps(work, devices[0])['C1'][2] if have[0] else ()
                if guest and have[0] and told:
                    require(any(a <= 512 * KiB and b >= 576 * KiB for a, b in dirty), '%s: the guest: %r' % (what,
                            dirty))
                if have[0] and not guest:
                    require_equal(dirty, (), what)
                seen.add(have[0])
    finally:
        for device in devices:
            work.run('losetup', '-d', device)
    require_equal(seen, {False, True}, 'the ways that were gone')


def devices_at_once(work, rounds):
    """Two creates whose overlays are the same block devices, and nothing else: one of them goes on. What is locked is in one order,
    whatever the order in which it was named."""
    machine(work, 3)
    work.create('vdd.qcow2', '8M')
    for n in range(2):
        with open(work.path('device%d' % n), 'wb') as f:
            f.truncate(4 * MiB)
    with qtool.loop_device(work, 'device0') as first, qtool.loop_device(work, 'device1') as second:
        if not second:
            return
        jobs = [['checkpoint', 'create', 'C1', '--journal', 'J%d' % k] +
                sum((['--disk', '%s=%s.qcow2' % (d, d), '--overlay', '%s=%s' % (d, device)] for d, device in pairs), [])
                for k, pairs in enumerate(((('vda', first), ('vdb', second)), (('vdc', second), ('vdd', first))))]
        for disks, overlays, says in ((('vda.qcow2', 'vdb.qcow2'), (first, first), 'another disk has'),
                                      (('vda.qcow2', first), (first, 'new'), 'another disk has'),
                                      ((first, 'vdb.qcow2'), (first, 'new'), 'the image itself')):
            work.qcbm_refused('checkpoint', 'create', 'C9', *['--disk=vd%s=%s' % one for one in zip('ab', disks)],
                              *['--overlay=vd%s=%s' % one for one in zip('ab', overlays)], says=[says])
        orders = []
        for job in jobs:
            work.run('strace', '-f', '-o', 'trace', '-e', 'trace=openat', qtool.QCBM, *job)
            with open(work.path('trace')) as f:
                orders.append([name for name, mode in re.findall(r'"([^"]*)", (O_RDWR)', f.read()) if name in (first, second)])
            wipe(first, second)
        require_equal(orders[0], orders[1], 'the order in which devices are opened')
        for _ in range(rounds):
            for k, pair in enumerate((('vda', 'vdb'), ('vdc', 'vdd'))):
                for d in pair:
                    work.create(d + '.qcow2', '8M')
            runs = [subprocess.Popen([qtool.QCBM, *job], cwd=work.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     text=True) for job in jobs]
            ends = [(run.communicate(timeout=qtool.COMMAND_TIMEOUT)[1], run.returncode) for run in runs]
            require_equal(sorted(code for _, code in ends), [0, 1], 'how they ended: %r' % (ends,))
            winner = 'ac'[ends[1][1] == 0]
            below = json.loads(work.run('qemu-img', 'info', '--output=json', '-f', 'qcow2', first).out)['full-backing-filename']
            require_equal(os.path.basename(below), {'a': 'vda', 'c': 'vdd'}[winner] + '.qcow2', 'whose overlay it is')
            for device in first, second:
                work.run('qemu-img', 'check', '-f', 'qcow2', device)
            require(not [n for n in os.listdir(work.dir) if n.endswith('-journal') or n in ('J0', 'J1')], 'something is left')
            wipe(first, second)


def wipe(*devices):
    for device in devices:
        with open(device, 'wb') as f:
            f.write(bytes(4 * MiB))


def cases(full, loop):
    yield moved, 'moved, not decided', {'stop': stop_when_linked}
    yield moved, 'moved, decided', {'stop': stop_when_decided}
    yield a_folder_that_is_gone, 'a folder that is gone', {}
    yield of_another_journal, 'of another journal', {}
    yield a_layer_of_another_journal, 'a layer of another journal', {}
    for make, says, outcome in ((give_it_its_name, None, 'complete'), (another_image, ['vda-2.qcow2',
            'another file'], None),
                                (another_overlay, ['vda-2.qcow2', 'another file'], None), (no_image, ['another file'],
                                        None),
                                (without_its_bitmap, None, 'superset'), (with_it_disabled, None, 'superset'),
                                (stale, None, 'superset')):
        yield the_overlay, 'the overlay: ' + make.__name__.replace('_', ' '), {'make': make, 'says': says,
                'outcome': outcome}
    yield while_it_is_made, 'while it is made', {}
    yield undo_files, 'undo files', {}
    yield others_of_a_stale_layer, 'others of a stale layer', {}
    yield many_at_once, 'many at once', {'rounds': 100 if full else 6}
    yield devices_at_once, 'devices at once', {'rounds': 100 if full else 5}
    for frozen in (False, True) if loop else ():
        for guest in (False, True):
            yield on_devices, 'on devices%s%s' % (', frozen' if frozen else '', ', a guest' if guest else ''), \
                {'frozen': frozen, 'guest': guest}


def main():
    args = arguments('recoveries that somebody meddles with', loop=0)
    need_tools('qemu-img', 'qemu-io', 'strace')
    run_cases(args, list(cases(args.full, args.loop)))


if __name__ == '__main__':
    main()
