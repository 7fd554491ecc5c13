#!/usr/bin/env python3
# kill.py - the command is killed, or gets an error, at each of its system calls that change the image: old or new
# SPDX-License-Identifier: MIT
#
# The images are the fixtures of the crash tests. strace delivers SIGKILL when the n-th write, flush, growth or
# reservation begins, for each n; what is left is judged by qemu-img and qemu-nbd. After the kills at flushes the same
# command is run again: a kill must not keep it from being repeated. Then the same calls fail instead: the command ends
# with exit code 1 and one line that names the cause.
#
# Environment: QCBM = the command.
import os
import shutil
import subprocess

import qtool
from qtool import arguments, need_tools, require, require_equal, run_cases
from state_judge import StateJudge

CALLS = ('pwrite64', 'fdatasync', 'ftruncate', 'fallocate')
ERRORS = {'pwrite64': ('EIO', 'Input/output error'), 'fdatasync': ('EIO', 'Input/output error'),
          'ftruncate': ('EFBIG', 'File too large'), 'fallocate': ('ENOSPC', 'No space left on device')}
QUICK = ('add', 'remove', 'disable', 'several', 'synth')  # without --full, on the first of their images
# command, bitmaps that it names, images
OPERATIONS = (
    ('add', ['bitmap', '--add', 'IMAGE', 'new'], 'new,', 'longname-65536 two-4096 hole data snapshots eight'),
    ('remove', ['bitmap', '--remove', 'IMAGE', 'b0'], 'b0,', 'two-512 eight directory behind'),
    ('clear', ['bitmap', '--clear', 'IMAGE', 'b0'], 'b0,', 'refcount-1 two-512 eight'),
    ('disable', ['bitmap', '--disable', 'IMAGE', 'b0'], 'b0,', 'behind two-512 directory'),
    ('merge', ['bitmap', '--merge', 'b0', 'IMAGE', 'b1'], 'b1,', 'two-1024 directory two-65536'),
    ('several', ['bitmap', '--remove', '--add', '-g', '1k', '--disable', 'IMAGE', 'b0'], 'b0,', 'straddle two-1024'),
    ('synth', ['synth', '-g', '512', 'IMAGE', 'new'], 'new,', 'block table hole first-65536 foreign compressed'),
    ('replace', ['synth', '--replace', 'IMAGE', 'b0'], 'b0,', 'front two-512 subclusters short'),
    ('since', ['synth', '--since=base.qcow2', 'IMAGE', 'new'], 'new,', 'chain'),
    ('rotate', ['bitmap', '--rotate', 'new', 'IMAGE', 'b0'], 'b0,new,', 'two-1024 eight directory'),
    ('rename', ['bitmap', '--rename', 'new', 'IMAGE', 'b0'], 'b0,new,', 'two-512 eight'),
    ('ranges', ['bitmap', '--unset', '0:8k', '--set', '16k:4k', '--regranularise', '512', 'IMAGE', 'b0'], 'b0,',
     'two-4096 directory'),
    ('prune', ['bitmap', '--prune', 'b*', 'IMAGE'], 'b0,b1,b2,b3,b4,b5,b6,b7,', 'eight'),
)


def run_tool(work, image, argv, strace=()):
    """The tool below strace: exit code -9 if it was killed."""
    words = [*strace, qtool.QCBM, *[image if word == 'IMAGE' else word for word in argv]]
    work.note(' '.join(words))
    # LeakSanitizer, in a build that has it, does not work under strace
    env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0')
    return subprocess.run(words, cwd=work.dir, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=qtool.COMMAND_TIMEOUT)


def run_injected(work, image, argv, call, what, n):
    """The @n-th @call of the tool is hit by @what, in strace's words."""
    return run_tool(work, image, argv, ['strace', '-f', '-o', '/dev/null', '-e', 'trace=' + call, '-e',
                                        'inject=%s:%s:when=%d' % (call, what, n)])


def count_calls(work, image, argv):
    """call -> how many the command makes."""
    code = run_tool(work, image, argv, ['strace', '-f', '-o', 'trace', '-e', 'trace=' + ','.join(CALLS)]).returncode
    require(code == 0, 'exit code %d' % code)
    with open(work.path('trace')) as f:
        names = [line.split('(')[0].split()[-1] for line in f if '(' in line]
    return {call: names.count(call) for call in CALLS}


def fail_once(work, image, argv, call, n):
    error, text = ERRORS[call]
    shutil.copy(work.path(image), work.path('killed.qcow2'))
    done = run_injected(work, 'killed.qcow2', argv, call, 'error=' + error, n)
    what = '%s %d fails with %s' % (call, n, error)
    require_equal((done.returncode, done.stdout), (1, ''), what)
    require(text in done.stderr and done.stderr.count('\n') == 1, '%s\n  stderr: %s' % (what, done.stderr))


def hit_everywhere(work, image, argv, named):
    qtool.fixtures().fill(work.dir, [image[:-len('.qcow2')]])
    judge, seen = StateJudge(work), set()
    shutil.copy(work.path(image), work.path('after.qcow2'))
    calls = count_calls(work, 'after.qcow2', argv)
    require(calls['pwrite64'] > 0 and calls['fdatasync'] > 0, 'the command writes nothing: %r' % calls)
    for call in CALLS:
        for n in range(1, calls[call] + 1):
            shutil.copy(work.path(image), work.path('killed.qcow2'))
            code = run_injected(work, 'killed.qcow2', argv, call, 'signal=KILL', n).returncode
            require(code in (-9, 137), 'killed at %s %d: exit code %d' % (call, n, code))
            state = judge.state('killed.qcow2', image, 'after.qcow2', named)
            seen.add(state)
            if state == 'old' and call == 'fdatasync':
                require_equal(run_tool(work, 'killed.qcow2', argv).returncode, 0,
                              'repeated after a kill at %s %d' % (call, n))
                require_equal(judge.state('killed.qcow2', image, 'after.qcow2', named), 'new', 'repeated')
            fail_once(work, image, argv, call, n)
            judge.state('killed.qcow2', image, 'after.qcow2', named)
    require('old' in seen, 'the old state was never seen')


def cases(full):
    for name, argv, named, images in OPERATIONS:
        for image in images.split() if full else images.split()[:1] * (name in QUICK):
            yield (hit_everywhere, '%s %s' % (name, image),
                   {'image': image + '.qcow2', 'argv': argv, 'named': named})


def main():
    args = arguments('kills the command, or makes it fail, at each of its changes of the image')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'strace')
    run_cases(args, list(cases(args.full)))


if __name__ == '__main__':
    main()
