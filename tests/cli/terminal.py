#!/usr/bin/env python3
# terminal.py - what depends on a terminal: colour of severities, and whose wish decides; progress
#
# SPDX-License-Identifier: MIT
#
# usage: terminal.py    environment: QCBM = path of the tool

import os
import pty
import subprocess
import sys
import tempfile

TOOL = os.path.abspath(os.environ['QCBM'])
ESC = b'\x1b['
failed = 0


def complain(what, got):
    global failed
    failed += 1
    print('FAIL %s: %r' % (what, got))


def run(*argv, on=('out', 'err'), **environment):
    """Output of stdout and of stderr, those in @on at a terminal, the others in a pipe."""
    env = dict(os.environ, TERM='xterm', LC_ALL='C.UTF-8')
    env.pop('NO_COLOR', None)
    env.update(environment)
    ends = {}
    for name in 'out', 'err':
        ends[name] = pty.openpty() if name in on else os.pipe()
    # the other end of a pseudo-terminal is written, of a pipe read
    write = {n: ends[n][1] for n in ends}
    process = subprocess.Popen([TOOL, *argv], stdin=subprocess.DEVNULL, stdout=write['out'], stderr=write['err'], env=env)
    for name in ends:
        os.close(write[name])
    text = {}
    for name in ends:
        pieces = []
        while True:
            try:
                piece = os.read(ends[name][0], 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                break
            if not piece:
                break
            pieces.append(piece)
        os.close(ends[name][0])
        text[name] = b''.join(pieces).replace(b'\r\n', b'\n')
    process.wait()
    return text['out'], text['err']


def colours(text):
    return text.count(ESC)


def plain(text):
    for code in b'\x1b[1;31m', b'\x1b[1;33m', b'\x1b[1;36m', b'\x1b[0m':
        text = text.replace(code, b'')
    return text


def qemu_img(*argv):
    subprocess.run(('qemu-img', *argv), check=True, stdin=subprocess.DEVNULL)


def prepare():
    """inuse.qcow2: its bitmap with a name that plays with the terminal is inconsistent; leak.qcow2: a leaked cluster."""
    qemu_img('create', '-q', '-f', 'qcow2', 'inuse.qcow2', '1M')
    qemu_img('bitmap', '--add', 'inuse.qcow2', 'evil\x1b[31m')
    subprocess.run(['bash', '-c', 'ulimit -c 0; exec qemu-io -c abort inuse.qcow2'], capture_output=True, check=False)
    qemu_img('create', '-q', '-f', 'qcow2', 'leak.qcow2', '1M')
    with open('leak.qcow2', 'r+b') as f:
        f.truncate(0x60000)
        f.seek(0x20000 + 2 * 5)
        f.write(b'\0\1')


# Each with what stands in colour on stdout and stderr.
CASES = [
    (('info', 'missing.qcow2'), b'', b'\x1b[1;31mqcbm:\x1b[0m '),
    (('synht',), b'', b'qcbm: \x1b[1;36mhint:\x1b[0m '),
    (('check', 'inuse.qcow2'), b'', b'qcbm: \x1b[1;33mwarning:\x1b[0m '),
    (('check', 'leak.qcow2'), b'', b'\x1b[1;33mLeaked\x1b[0m cluster 5'),
    (('bitmap', '--list', 'inuse.qcow2'), b': \x1b[1;33mwarning\x1b[0m: ', b''),
    (('synth', '--dry-run', 'leak.qcow2', 'x'), b'\x1b[1;36mnote:\x1b[0m ', b''),
]


def test_colour():
    for argv, on_stdout, on_stderr in CASES:
        out, err = run(*argv)
        if on_stdout not in out or on_stderr not in err or not colours(out + err):
            complain('%r at a terminal' % (argv,), (out, err))
        if colours(out + err) % 2:
            complain('%r: a colour has no end' % (argv,), (out, err))
        bare = run(*argv, on=())
        if colours(bare[0] + bare[1]):
            complain('%r in pipes' % (argv,), bare)
        for environment in {'NO_COLOR': '1'}, {'NO_COLOR': 'false'}, {'TERM': 'dumb'}, {'TERM': ''}:
            got = run(*argv, **environment)
            if colours(got[0] + got[1]):
                complain('%r with %r' % (argv, environment), got)
        if not colours(b''.join(run(*argv, NO_COLOR=''))):
            complain('%r with an empty NO_COLOR' % (argv,), 'no colour')
        for name, index in ('out', 0), ('err', 1):
            got = run(*argv, on=(name,))
            if colours(got[1 - index]):
                complain('%r with %s at a terminal, the other in a pipe' % (argv, name), got)
        if argv[0] != 'synth' and (plain(out), plain(err)) != bare:  # which prints a time
            complain('%r: other words at a terminal' % (argv,), (out, err, bare))
    out = run('bitmap', '--list', 'inuse.qcow2')[0]
    if b'evil\\x1b[31m' not in out:
        complain('a name that plays with the terminal', out)
    out = run('bitmap', '--list', '--output=json', 'inuse.qcow2')[0]
    if colours(out):
        complain('JSON', out)


PROGRESS = [
    ('check', '-p', 'leak.qcow2'), ('check', '--untrusted', '-p', 'leak.qcow2'), ('map', '-p', 'leak.qcow2'),
    ('measure', '-p', '-O', 'qcow2', 'leak.qcow2'), ('extents', '-p', 'good.qcow2', 'b'),
    ('bitmap', '--list', '-p', 'good.qcow2'), ('bitmap', '--list', '--chain', '-p', 'good.qcow2'),
    ('bitmap', '--export', 'out', '-p', 'good.qcow2', 'b'), ('bitmap', '--export', 'o2', '--format=json', '-p', 'good.qcow2', 'b'),
    ('synth', '-p', 'good.qcow2', 'c'),
]


def test_progress():
    """On stderr, at a terminal or not, up to 100 %; nothing without -p."""
    qemu_img('create', '-q', '-f', 'qcow2', 'good.qcow2', '1M')
    qemu_img('bitmap', '--add', 'good.qcow2', 'b')
    for argv in PROGRESS:
        out, err = run(*argv, on=())
        lines = err.decode().replace('\r', '\n').split('\n')
        shown = [float(line.strip()[1:-6]) for line in lines if line.endswith('/100%)')]
        if not shown or shown != sorted(shown) or shown[-1] != 100:
            complain(' '.join(argv), (out, err))
        if b'100%' in out:
            complain('progress on stdout: ' + ' '.join(argv), out)
    for argv in ('check', 'good.qcow2'), ('map', 'good.qcow2'), ('extents', 'good.qcow2', 'b'):
        if b'/100%' in run(*argv)[1]:
            complain('without -p: ' + ' '.join(argv), 'progress')


def main():
    with tempfile.TemporaryDirectory(prefix='qcbm-terminal.') as scratch:
        os.chdir(scratch)
        prepare()
        test_colour()
        test_progress()
        os.chdir('/')
    print('%d failed' % failed)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
