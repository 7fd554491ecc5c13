#!/usr/bin/env python3
# concurrency.py - programs that start at once on one image: each does its work, or says that the image is locked
# SPDX-License-Identifier: MIT
#
# Who comes first is left to chance, and no check depends on it: what is required holds for every order. Rounds:
# CONCURRENCY_ROUNDS in the environment, else 8 of each case.
#
# Environment: QCBM = the command.
import json
import os
import random
import re
import subprocess

import qtool
from qtool import arguments, need_tools, require, require_equal, run_cases

IMAGE = 'image.qcow2'
LOCKED = re.compile(r'Failed to get (shared )?"[a-z ]+" lock')
ROUNDS = int(os.environ.get('CONCURRENCY_ROUNDS', '8'))


class Running:
    def __init__(self, work, argv, rng):
        self.line = ' '.join(argv)
        work.note(self.line + ' &')
        words = [qtool.QCBM if word == 'qcbm' else word for word in argv]
        self.process = subprocess.Popen(words, cwd=work.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        for _ in range(rng.randrange(3000)):  # the next one starts a little later, or not
            pass

    def end(self):
        """True if it did its work, False if it says that the image is locked. Anything else is a failure."""
        self.out, err = self.process.communicate(timeout=qtool.COMMAND_TIMEOUT)
        code = self.process.returncode
        if code == 0:
            return True
        require(code == 1 and LOCKED.search(err), '%s: exit code %d: %s' % (self.line, code, err))
        return False


def make_image(work):
    work.create(IMAGE, '64M', 'cluster_size=4096')
    work.run('qemu-img', 'bitmap', '--add', '-g', '512', IMAGE, 'b0')
    work.io(IMAGE, 'write 1M 300k', 'write 20M 5k', 'write 60M 64k')


def writers(work, seed):
    """Several at once: exactly those that say so have added their bitmap."""
    rng, there, refused = random.Random(seed), {'b0'}, 0
    make_image(work)
    content = work.qcbm('extents', '--output=json', IMAGE, 'b0').out
    for n in range(ROUNDS):
        names = ['w%d-%d' % (n, k) for k in range(3)]
        commands = [['qcbm', 'bitmap', '--add', IMAGE, names[0]], ['qcbm', 'synth', IMAGE, names[1]],
                    [rng.choice(('qcbm', 'qemu-img')), 'bitmap', '--add', IMAGE, names[2]]]
        running = [Running(work, argv, rng) for argv in rng.sample(commands, 3)]
        for one in running:
            if one.end():
                there.add(one.line.split()[-1])
            else:
                refused += 1
        require_equal(sorted(work.info_bitmaps(IMAGE)), sorted(there), 'bitmaps after round %d' % n)
    work.check(IMAGE)
    require(len(there) > 1, 'no writer ever got the image')
    require_equal(work.qcbm('extents', '--output=json', IMAGE, 'b0').out, content, 'b0')


def writer_and_readers(work, seed):
    """Readers see the old bitmap or the new one, or say that the image is locked."""
    rng, seen = random.Random(seed), set()
    make_image(work)
    old = work.qcbm('extents', '--output=json', IMAGE, 'b0').out
    work.qcbm('bitmap', '--disable', IMAGE, 'b0')  # else qemu-io's writes would be in it
    work.io(IMAGE, 'write 30M 1M')
    for n in range(ROUNDS):
        writer = ['qcbm', 'bitmap', '--clear', IMAGE, 'b0'] if n % 2 else \
            ['qcbm', 'synth', '--disabled', '--replace', '-g', '512', IMAGE, 'b0']
        commands = [writer, ['qcbm', 'extents', '--output=json', IMAGE, 'b0'],
                    ['qcbm', 'extents', '--output=json', IMAGE, 'b0'], ['qcbm', 'check', '-q', IMAGE]]
        running = [Running(work, argv, rng) for argv in rng.sample(commands, 4)]
        ended = [(one, one.end()) for one in running]
        new = work.qcbm('extents', '--output=json', IMAGE, 'b0').out
        done = [ok for one, ok in ended if one.line == ' '.join(writer)][0]
        require(done or new == old, 'round %d: the writer was refused, and b0 changed' % n)
        for one, ok in ended:
            if ok and 'extents' in one.line:
                require(one.out in (old, new), 'round %d: neither old nor new' % n)
            seen.add((one.line.split()[1], ok))
        old = new
    work.check(IMAGE)
    require(('extents', True) in seen, 'no reader ever got the image')


def daemon_argv():
    return ['qemu-storage-daemon', '--chardev', 'stdio,id=c0', '--monitor', 'chardev=c0',
            '--blockdev', 'driver=file,node-name=file0,filename=' + IMAGE,
            '--blockdev', 'driver=qcow2,node-name=node0,file=file0']


def writer_and_daemon(work, seed):
    """A storage daemon starts while a bitmap is added: one of the two may be refused, and no bitmap is lost."""
    rng, there, came_up = random.Random(seed), {'b0'}, 0
    make_image(work)
    for n in range(ROUNDS):
        writer = ['qcbm', 'bitmap', '--add', IMAGE, 'd%d' % n]
        first = Running(work, writer, rng) if n % 2 else None
        work.note(' '.join(daemon_argv()) + ' &')
        daemon = subprocess.Popen(daemon_argv(), cwd=work.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        second = first or Running(work, writer, rng)
        said, err = daemon.communicate(
            json.dumps({'execute': 'qmp_capabilities'}) + json.dumps({'execute': 'quit'}) + '\n',
            timeout=qtool.COMMAND_TIMEOUT)
        if daemon.returncode == 0:
            came_up += 1
        else:
            require(LOCKED.search(err), 'the daemon ends with %d: %s %s' % (daemon.returncode, said, err))
        if second.end():
            there.add('d%d' % n)
        require_equal(sorted(work.info_bitmaps(IMAGE)), sorted(there), 'bitmaps after round %d' % n)
    for name, (_, flags) in work.info_bitmaps(IMAGE).items():
        require('in-use' not in flags, '%s is in use' % name)
    work.check(IMAGE)
    require(len(there) > 1 or came_up, 'neither ever got the image')


def main():
    args = arguments('programs that start at once on one image')
    need_tools('qemu-img', 'qemu-io', 'qemu-storage-daemon')
    run_cases(args, [(function, function.__name__.replace('_', ' '), {'seed': args.seed})
                     for function in (writers, writer_and_readers, writer_and_daemon)])


if __name__ == '__main__':
    main()
