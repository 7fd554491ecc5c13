#!/usr/bin/env python3
# resume.py - a night of GNU parallel that is killed: SQL names what was not run, --resume runs that and nothing else;
# slices that find images in use
#
# SPDX-License-Identifier: MIT
#
# usage: resume.py [--full]    environment: QCBM = path of the tool

import glob
import os
import subprocess
import time

import fleet
from fleet import ask, load, require, require_equal

LINES = os.uname().nodename + '.jsonl'


def in_front_of(tool, script):
    """A script of that name that is found before the tool itself, which it calls $real."""
    real = os.path.realpath('bin/' + tool)
    os.unlink('bin/' + tool)
    with open('bin/' + tool, 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\nreal=%s\n%s\nexec "$real" "$@"\n' % (real, script))
    os.chmod('bin/' + tool, 0o755)


def recorded():
    return sorted(r['image'] for r in fleet.records(LINES))


def any_runs(word):
    """A process that has it on its command line."""
    for path in glob.glob('/proc/[0-9]*/cmdline'):
        try:
            with open(path, 'rb') as f:
                if word.encode() in f.read():
                    return True
        except OSError:  # it has just ended
            continue
    return False


def killed_night(names):
    # whoever comes to the image in the middle kills parallel, and then itself
    middle = names[len(names) // 2]
    once = '[ -e killed ] || { touch killed; kill -KILL "$(cat pid)" $$; }'
    in_front_of('qcbm', 'case "$*" in *%s*) %s ;; esac' % (os.path.basename(middle), once))
    done = subprocess.run(['sh', '-c', 'echo $$ >pid; exec "$FLEET_HOME/parallel.sh" list --jobs 4'],
                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    require_equal(done.returncode, -9, 'the first night')
    # those that were under way beside it come to their end by themselves
    while any_runs(os.getcwd() + '/images/vm-'):
        time.sleep(0.05)
    load('sqlite', 'fleet.db', LINES)
    missing = [row[0] for row in ask('sqlite', 'fleet.db', 2)]
    require(middle in missing and 0 < len(missing) < len(names), 'missing', missing)
    require_equal(sorted(missing + recorded()), names, 'what was not run')
    require_equal([row[0] for row in ask('sqlite', 'fleet.db', 1)], missing, 'no checkpoint')

    logged = len(open('fleet.joblog', encoding='utf-8').read().splitlines()) - 1
    fleet.run(fleet.HOME + '/parallel.sh', 'list', '--jobs', '4')
    require_equal(len(open('fleet.joblog', encoding='utf-8').read().splitlines()) - 1, len(names), 'lines of the log')
    load('sqlite', 'fleet.db', LINES)
    require_equal(ask('sqlite', 'fleet.db', 2), [], 'not run after --resume')
    require_equal(ask('sqlite', 'fleet.db', 1), [], 'without a checkpoint after --resume')
    # what the log had was not run again
    require_equal(len(recorded()) <= len(names) + 4 and len(recorded()) >= len(names), True, 'runs')
    fleet.run(fleet.HOME + '/parallel.sh', 'list', '--jobs', '4')
    print('killed after %d of %d, then resumed' % (logged, len(names)))


def failing_night(names):
    """The exit code is that of the night, also when it is started again; what failed is repeated."""
    some = names[:4]
    with open('some', 'w', encoding='utf-8') as f:
        f.writelines(name + '\n' for name in some)
    os.environ.update(FLEET_JOBLOG='some.joblog', FLEET_RECORDS='some.records')
    night = [fleet.HOME + '/parallel.sh', 'some', '--jobs', '2']
    fleet.run(*night, code=4)  # no such folder
    os.mkdir('some.records')
    os.rename(some[1], 'away')
    fleet.run(*night, code=1)
    fleet.run(*night, code=1)
    os.rename('away', some[1])
    fleet.run(*night)
    fleet.run(*night)
    # three were done once, and one three times
    require_equal(len(fleet.records('some.records/' + LINES)), 6, 'runs of a night that failed')


def slices(names):
    """Two of three, one image in use in each, one missing in one: exit codes, and what SQL says."""
    os.environ.update(FLEET_RECORDS='slices', FLEET_CHECKPOINT='other')
    os.mkdir('slices')
    lines = 'slices/' + LINES
    os.rename(names[3], 'away')
    guests = []
    for n in 1, 6:
        at = os.path.abspath('%d.sock' % n)
        guests.append(subprocess.Popen(['qemu-nbd', '-f', 'qcow2', '-t', '-k', at, names[n]]))
        while not os.path.exists(at):
            time.sleep(0.05)
    slice_sh = fleet.HOME + '/slice.sh'
    fleet.run(slice_sh, 'list', '0', '3', code=1)
    fleet.run(slice_sh, 'list', '1', '3', code=75)
    fleet.run(slice_sh, 'list', '2', '3')
    for guest in guests:
        guest.terminate()
        guest.wait()
    for wrong in ['3', '3'], ['-1', '3'], ['x', '3']:
        fleet.run(slice_sh, 'list', *wrong, code=1)
    for no_list in 'nosuch', '.':
        fleet.run(slice_sh, no_list, code=1)
    require_equal(sorted(r['image'] for r in fleet.records(lines)), names, 'all of the slices')
    os.unlink('fleet.db')
    load('sqlite', 'fleet.db', lines)
    require_equal([row[:2] for row in ask('sqlite', 'fleet.db', 1)],
                  [(names[1], 'in use'), (names[3], 'failed'), (names[6], 'in use')], 'without a checkpoint')
    require_equal([row[:2] for row in ask('sqlite', 'fleet.db', 3)], [(names[1], 1), (names[6], 1)], 'in use')
    require_equal([row[:3] for row in ask('sqlite', 'fleet.db', 4)], [('QCBM_E_NOTFOUND', 1, 1)], 'failures')


with fleet.scratch():
    images = fleet.make_images(fleet.count(60, 60))
    killed_night(images)
    failing_night(images)
    slices(images)
