#!/usr/bin/env python3
# run.py - runs the cases of one folder: a script each, with what it must print and return beside it
#
# SPDX-License-Identifier: MIT
#
# usage: run.py FOLDER [CASE]...    environment: QCBM = path of the tool
#
# CASE.sh is run by bash -eu in an empty folder of its own, with qcbm first on PATH and lib.sh loaded. Beside it:
#   CASE.exit           the exit code (default 0)
#   CASE.stdout.exact   what it prints, to the byte;  CASE.stdout.glob  the same with * and ? in each line, and a line
#                       "..." for any number of lines. Without either it must print nothing.
#   CASE.stderr.exact, CASE.stderr.glob   the same for stderr

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CASE_TIMEOUT = 120


def read(path):
    with open(path, 'rb') as f:
        return f.read()


NEEDS_QEMU = re.compile(rb'qemu-|qemu_img|start_writer|nbdinfo')


def line_pattern(line):
    if line == '...':
        return r'(?:.*\n)*?'
    return ''.join('.*' if c == '*' else '.' if c == '?' else re.escape(c) for c in line) + r'\n'


def matches_glob(text, glob):
    return re.fullmatch(''.join(line_pattern(line) for line in glob.splitlines()), text) is not None


def check_stream(base, name, got):
    exact, glob = '%s.%s.exact' % (base, name), '%s.%s.glob' % (base, name)
    if os.path.exists(exact):
        expected = read(exact)
        if got != expected:
            return '%s is not as in %s' % (name, os.path.basename(exact))
    elif os.path.exists(glob):
        if not matches_glob(got.decode('utf-8', 'backslashreplace'), read(glob).decode()):
            return '%s does not match %s' % (name, os.path.basename(glob))
    elif got:
        return '%s is not empty' % name
    return None


def run_script(command, **options):
    """As subprocess.run(), but a script that hangs is ended with all that it has started, and has exit code -9."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, **options)
    try:
        out, err = process.communicate(timeout=CASE_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_case(base, tool):
    env = dict(os.environ, LC_ALL='C.UTF-8', TZ='UTC', CLI_DIR=HERE)
    with tempfile.TemporaryDirectory(prefix='qcbm-cli.') as scratch:
        os.mkdir(scratch + '/bin')
        os.symlink(tool, scratch + '/bin/qcbm')
        os.mkdir(scratch + '/case')
        env['PATH'] = scratch + '/bin:' + env['PATH']
        shell = ['bash', '-eu', '-c', '. "$CLI_DIR/lib.sh"; . "$1"', 'case', base + '.sh']
        done = run_script(shell, cwd=scratch + '/case', env=env)
    code = int(read(base + '.exit')) if os.path.exists(base + '.exit') else 0
    faults = ['exit code is %d, not %d' % (done.returncode, code)] if done.returncode != code else []
    faults += filter(None, [check_stream(base, 'stdout', done.stdout), check_stream(base, 'stderr', done.stderr)])
    return faults, done


def show(done):
    for name, text in ('stdout', done.stdout), ('stderr', done.stderr):
        print('    --- %s\n%s' % (name, text.decode('utf-8', 'backslashreplace')), end='')


def main():
    tool = os.path.abspath(os.environ['QCBM'])
    folder = os.path.join(HERE, sys.argv[1])
    cases = sys.argv[2:] or sorted(f[:-3] for f in os.listdir(folder) if f.endswith('.sh'))
    every = len(cases)
    if os.environ.get('QCBM_QUICK'):
        cases = [case for case in cases if not NEEDS_QEMU.search(read(os.path.join(folder, case + '.sh')))]
        print('%d of %d cases need QEMU and are left out' % (every - len(cases), every))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda case: run_case(os.path.join(folder, case), tool), cases)
    for case, (faults, done) in zip(cases, results):
        print('%s %s/%s%s' % ('FAIL' if faults else 'ok  ', sys.argv[1], case, ''.join('; ' + f for f in faults)))
        if faults:
            failed += 1
            show(done)
    print('%d cases, %d failed' % (len(cases), failed))
    return 1 if failed or not cases else 0


if __name__ == '__main__':
    sys.exit(main())
