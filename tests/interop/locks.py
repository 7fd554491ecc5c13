#!/usr/bin/env python3
# locks.py - who may open an image while another program has it: qcbm against the real QEMU programs, both ways
# SPDX-License-Identifier: MIT
#
# Each expectation is a rule of QEMU's lock table, and is tried first with the qemu-img command that opens the image
# as qcbm's does: `qcbm bitmap` as `qemu-img bitmap`, `qcbm extents` as `qemu-img map`, `qcbm info` as `qemu-img info`.
#
# Environment: QCBM = the command, HOLD_LOCK = tests/interop/hold_lock.c built.
# With --qemu-only neither is needed: only the expectations are tried, among the QEMU programs.

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

LOCK_MESSAGE = re.compile(r'Failed to get (shared )?"[a-z ]+" lock')
DEADLINE = 60  # seconds for a program to come up or go away; never reached unless it hangs
BITMAP = 'b0'

failures = 0
cases = 0


def report(ok, name, detail=''):
    global failures, cases
    cases += 1
    if ok:
        print(f'ok {cases} - {name}')
        return
    failures += 1
    print(f'not ok {cases} - {name}')
    for line in detail.splitlines():
        print(f'    {line}')


def wait_for(condition, what):
    """Poll until the condition holds; what it returns is returned."""
    end = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f'{what} did not happen within {DEADLINE} s')
        time.sleep(0.01)


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def run(argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=DEADLINE)


# ---- programs that hold an image -------------------------------------------------------------------------------

class Holder:
    """A program that has been asked to open an image and to stay. up = it has the image; else error tells why not."""

    def __init__(self, argv, ready):
        self.log = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log, text=True)
        try:
            self.greet()
            wait_for(lambda: ready(self) or self.process.poll() is not None, f'start of {argv[0]}')
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        self.up = self.process.poll() is None
        self.error = self.output()

    def greet(self):
        pass

    def output(self):
        # Our position is shared with the child's: pread leaves it alone.
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def stop(self):
        """Ends it cleanly; returns what went wrong, or ''."""
        if self.process.poll() is None:
            self.ask_to_end()
        try:
            self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        ended_badly = self.up and self.process.returncode != 0
        text = f'exit {self.process.returncode}: {self.output()}' if ended_badly else ''
        self.log.close()
        return text

    def ask_to_end(self):
        self.process.terminate()


class ReadsInput(Holder):
    """Ends with its standard input, which is a clean close."""

    def ask_to_end(self):
        self.process.stdin.close()
        self.process.stdin = None


class QemuIo(ReadsInput):
    def __init__(self, image, *options):
        super().__init__(['qemu-io', '-f', 'qcow2', *options, image], lambda h: 'read 512/512' in h.output())

    def greet(self):
        try:
            self.process.stdin.write('read 0 512\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it did not get the image and has ended


class HoldLock(ReadsInput):
    def __init__(self, image, mode):
        super().__init__([os.environ['HOLD_LOCK'], mode, image], lambda h: 'open\n' in h.output())


class QemuNbd(Holder):
    def __init__(self, image, *options):
        pid_file = scratch_name(image, 'nbd.pid')
        super().__init__(['qemu-nbd', '-f', 'qcow2', '-t', '-k', scratch_name(image, 'nbd.sock'),
                          f'--pid-file={pid_file}', *options, image], lambda h: file_is_filled(pid_file))


class StorageDaemon(Holder):
    def __init__(self, image, writable):
        pid_file = scratch_name(image, 'qsd.pid')
        read_only = 'off' if writable else 'on'
        super().__init__([
            'qemu-storage-daemon', '--pidfile', pid_file,
            '--blockdev', f'driver=file,node-name=file0,filename={image},read-only={read_only}',
            '--blockdev', f'driver=qcow2,node-name=node0,file=file0,read-only={read_only}',
            '--nbd-server', f'addr.type=unix,addr.path={scratch_name(image, "qsd.sock")}',
            '--export', f'type=nbd,id=export0,node-name=node0,writable={"on" if writable else "off"}',
        ], lambda h: file_is_filled(pid_file))


def scratch_name(image, name):
    """A path beside the image; what an earlier program of that name left is taken away."""
    path = os.path.join(os.path.dirname(image), name)
    if os.path.exists(path):
        os.unlink(path)
    return path


def file_is_filled(path):
    return os.path.exists(path) and os.path.getsize(path) > 0


class OneShot:
    """A command that opens the image, does its work and ends."""

    def __init__(self, argv):
        result = run(argv)
        self.up = result.returncode == 0
        self.error = result.stderr

    def stop(self):
        return ''


# ---- the table -------------------------------------------------------------------------------------------------
#
# How an image can be opened, and who else may have it open already. Semantics: docs/qemu-differences.md, locks.

WRITER, READER, READER_U, INFO, INFO_U = 'writer', 'reader', 'reader -U', 'info', 'info -U'

HOLDERS = [
    ('qemu-io', WRITER, lambda image: QemuIo(image)),
    ('qemu-io -r', READER, lambda image: QemuIo(image, '-r')),
    ('qemu-io -r -U', READER_U, lambda image: QemuIo(image, '-r', '-U')),
    ('qemu-nbd', WRITER, lambda image: QemuNbd(image)),
    ('qemu-nbd -r', READER, lambda image: QemuNbd(image, '-r')),
    ('qemu-storage-daemon', WRITER, lambda image: StorageDaemon(image, True)),
    ('qemu-storage-daemon read-only', READER, lambda image: StorageDaemon(image, False)),
]

QEMU_COMMANDS = [
    ('qemu-img bitmap', WRITER, ['qemu-img', 'bitmap', '--add', 'IMAGE', 'NEW']),
    ('qemu-img check', READER, ['qemu-img', 'check', '-q', 'IMAGE']),
    ('qemu-img map', READER, ['qemu-img', 'map', 'IMAGE']),
    ('qemu-img check -U', READER_U, ['qemu-img', 'check', '-q', '-U', 'IMAGE']),
    ('qemu-img map -U', READER_U, ['qemu-img', 'map', '-U', 'IMAGE']),
    ('qemu-img snapshot -l', READER, ['qemu-img', 'snapshot', '-l', 'IMAGE']),
    ('qemu-img measure', READER, ['qemu-img', 'measure', '-O', 'qcow2', 'IMAGE']),
    ('qemu-img info', INFO, ['qemu-img', 'info', 'IMAGE']),
    ('qemu-img info -U', INFO_U, ['qemu-img', 'info', '-U', 'IMAGE']),
]

QCBM_COMMANDS = [
    ('qcbm bitmap --add', WRITER, ['QCBM', 'bitmap', '--add', 'IMAGE', 'NEW']),
    ('qcbm extents', READER, ['QCBM', 'extents', 'IMAGE', BITMAP]),
    ('qcbm extents -U', READER_U, ['QCBM', 'extents', '-U', 'IMAGE', BITMAP]),
    ('qcbm check', READER, ['QCBM', 'check', '-q', 'IMAGE']),
    ('qcbm check -U', READER_U, ['QCBM', 'check', '-q', '-U', 'IMAGE']),
    ('qcbm map', READER, ['QCBM', 'map', 'IMAGE']),
    ('qcbm map -U', READER_U, ['QCBM', 'map', '-U', 'IMAGE']),
    ('qcbm snapshot -l', READER, ['QCBM', 'snapshot', '-l', 'IMAGE']),
    ('qcbm measure', READER, ['QCBM', 'measure', '-O', 'qcow2', 'IMAGE']),
    ('qcbm dump', READER, ['QCBM', 'dump', 'IMAGE', 'header']),
    ('qcbm dump -U', INFO_U, ['QCBM', 'dump', '-U', 'IMAGE', 'header']),
    ('qcbm info', INFO, ['QCBM', 'info', 'IMAGE']),
    ('qcbm info -U', INFO_U, ['QCBM', 'info', '-U', 'IMAGE']),
]

# hold_lock's modes. qcbm's writer keeps out more than QEMU's: readers with -U as well.
HOLD_LOCK_MODES = [('write', 'qcbm writer'), ('read', READER), ('shared', READER_U), ('info', INFO),
                   ('info-shared', INFO_U)]

# holder -> who gets in beside it
MAY_ENTER = {
    WRITER: {READER_U, INFO_U},
    'qcbm writer': {INFO_U},
    READER: {READER, READER_U, INFO, INFO_U},
    READER_U: {WRITER, READER, READER_U, INFO, INFO_U},
    INFO: {READER, READER_U, INFO, INFO_U},
    INFO_U: {WRITER, READER, READER_U, INFO, INFO_U},
}


def enters(holder_kind, kind, is_qcbm):
    # qcbm's writer does not begin while a reader with -U looks; QEMU's does.
    if is_qcbm and kind == WRITER and holder_kind == READER_U:
        return False
    return kind in MAY_ENTER[holder_kind]


def command(argv, image, new_bitmap='new'):
    words = {'IMAGE': image, 'NEW': new_bitmap, 'QCBM': os.environ.get('QCBM', 'qcbm')}
    return [words.get(word, word) for word in argv]


# ---- cases -----------------------------------------------------------------------------------------------------

class Images:
    """Fresh copies of one image with a bitmap, each in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.count = 0
        self.template = os.path.join(directory, 'template.qcow2')
        for argv in (['qemu-img', 'create', '-q', '-f', 'qcow2', self.template, '1M'],
                     ['qemu-io', '-f', 'qcow2', '-c', 'write -P 7 64k 128k', self.template],
                     ['qemu-img', 'bitmap', '--add', self.template, BITMAP]):
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    def fresh(self):
        self.count += 1
        directory = os.path.join(self.directory, str(self.count))
        os.mkdir(directory)
        return shutil.copy(self.template, os.path.join(directory, 'image.qcow2'))


def refused_by_lock(result, image):
    return result.returncode == 1 and result.stdout == '' and LOCK_MESSAGE.search(result.stderr) and \
        image in result.stderr


def let_in(result, holder_kind, argv):
    # A writer of QEMU marks every bitmap in use as long as it has the image: past the lock, the bits are not to be had.
    if argv[1] == 'extents' and holder_kind == WRITER:
        return result.returncode == 1 and not LOCK_MESSAGE.search(result.stderr) and BITMAP in result.stderr
    return result.returncode == 0


def try_command(holder_name, holder_kind, name, kind, argv, image):
    """One command against an image that somebody holds."""
    is_qcbm = argv[0] == 'QCBM'
    expected = enters(holder_kind, kind, is_qcbm)
    before = digest(image)
    result = run(command(argv, image))
    ok = let_in(result, holder_kind, argv) if expected else refused_by_lock(result, image)
    if is_qcbm and not expected:
        ok = ok and result.stderr.count('\n') == 1 + result.stderr.count('qcbm: hint: ')
    report(ok, f'{holder_name} holds: {name} is {"let in" if expected else "refused"}',
           f'exit {result.returncode}\nstdout: {result.stdout}\nstderr: {result.stderr}')
    if kind != WRITER or not expected:
        report(digest(image) == before, f'{holder_name} holds: {name} leaves the file as it was')


def commands_against(holder_name, holder_kind, start, commands, image):
    # A writer that is let in changes the image: it comes last.
    ordered = sorted(commands, key=lambda c: c[1] == WRITER and enters(holder_kind, WRITER, c[2][0] == 'QCBM'))
    holder = start(image)
    try:
        report(holder.up, f'{holder_name} gets a free image', holder.error)
        for name, kind, argv in ordered:
            try_command(holder_name, holder_kind, name, kind, argv, image)
    finally:
        problem = holder.stop()
    report(not problem, f'{holder_name} ends well', problem)


def free_again(name, argv, image):
    """The refusals were the lock's: without the holder the same command works, and the image is sound."""
    result = run(command(argv, image, 'later'))
    report(result.returncode == 0, f'{name} works once the image is free', result.stderr)
    result = run(['qemu-img', 'check', image])
    report(result.returncode == 0, f'image is sound after {name}', result.stdout + result.stderr)


def qcbm_meets_qemu(images, commands):
    for holder_name, holder_kind, start in HOLDERS:
        image = images.fresh()
        commands_against(holder_name, holder_kind, start, commands, image)
        name, _, argv = commands[0]
        free_again(f'{name} after {holder_name}', argv, image)


def newcomer_against(mode, holder_kind, newcomer, kind, start, image):
    before = digest(image)
    expected = enters(holder_kind, kind, False)
    other = start(image)
    name = f'hold_lock {mode} holds: {newcomer}'
    if expected:
        report(other.up, f'{name} is let in', other.error)
    else:
        report(not other.up and LOCK_MESSAGE.search(other.error), f'{name} is refused', other.error)
        report(digest(image) == before, f'{name} leaves the file as it was')
    problem = other.stop()
    report(not problem, f'{name} ends well', problem)


def qemu_meets_qcbm(images):
    """The other direction: qcbm has the image, every QEMU program wants it."""
    programs = HOLDERS + [(name, kind, lambda image, argv=argv: OneShot(command(argv, image)))
                          for name, kind, argv in QEMU_COMMANDS]
    for mode, holder_kind in HOLD_LOCK_MODES:
        image = images.fresh()
        holder = HoldLock(image, mode)
        try:
            report(holder.up, f'hold_lock {mode} gets a free image', holder.error)
            for newcomer, kind, start in programs:
                newcomer_against(mode, holder_kind, newcomer, kind, start, image)
        finally:
            problem = holder.stop()
        report(not problem, f'hold_lock {mode} ends well', problem)
        if mode == 'write':
            free_again('qemu-img bitmap after hold_lock write', QEMU_COMMANDS[0][2], image)


def qcbm_meets_qcbm(images):
    for mode, holder_kind in HOLD_LOCK_MODES:
        image = images.fresh()
        commands_against(f'hold_lock {mode}', holder_kind, lambda path, mode=mode: HoldLock(path, mode),
                         QCBM_COMMANDS, image)
        name, _, argv = QCBM_COMMANDS[0]
        free_again(f'{name} after hold_lock {mode}', argv, image)


def main():
    qemu_only = sys.argv[1:] == ['--qemu-only']
    for program in ('qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon'):
        if not shutil.which(program):
            print(f'{program} is missing: skipped')
            return 77
    with tempfile.TemporaryDirectory(prefix='qcbm-locks-') as directory:
        images = Images(directory)
        qcbm_meets_qemu(images, QEMU_COMMANDS)
        if not qemu_only:
            qcbm_meets_qemu(images, QCBM_COMMANDS)
            qemu_meets_qcbm(images)
            qcbm_meets_qcbm(images)
    print(f'1..{cases}')
    print(f'{cases - failures} of {cases} passed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
