# fleet.py - what the tests of contrib/fleet share: images, databases, the ten questions
#
# SPDX-License-Identifier: MIT

import csv
import glob
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile

HOME = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../contrib/fleet')
FULL = '--full' in sys.argv  # 2,000 images, as a fleet has them


def count(normal, least):
    """How many images: fewer where all of it has just run without sanitizers."""
    return 2000 if FULL else max(normal // int(os.environ.get('QCBM_TEST_PART', '1')), least)


def require(true, *about):
    if not true:
        raise SystemExit('FAIL ' + ' '.join(str(a) for a in about))


def require_equal(got, expected, about):
    require(got == expected, '%s: %r, expected %r' % (about, got, expected))


def run(*argv, code=0, **options):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    require(done.returncode == code,
            'exit code %d, not %d: %r\n%s%s' % (done.returncode, code, argv, done.stdout, done.stderr))
    return done.stdout


def scratch():
    """An empty folder to work in, below a path that everybody may enter, with qcbm first on PATH."""
    folder = tempfile.TemporaryDirectory(prefix='qcbm-fleet.')
    os.chmod(folder.name, 0o755)
    os.chdir(folder.name)
    os.mkdir('bin')
    os.symlink(os.path.abspath(os.environ['QCBM']), 'bin/qcbm')
    os.environ['PATH'] = folder.name + '/bin:' + os.environ['PATH']
    os.environ['FLEET_HOME'] = HOME
    return folder


def make_images(n):
    """n small overlays, and the list of them."""
    os.mkdir('images')
    create = ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k']
    run(*create, 'images/base.qcow2', '1M')
    run(*create, '-b', 'base.qcow2', '-F', 'qcow2', 'images/template')
    run('qemu-io', '-f', 'qcow2', '-c', 'write 64k 8k', 'images/template')
    names = [os.path.abspath('images/vm-%04d.qcow2' % i) for i in range(n)]
    for name in names:
        shutil.copyfile('images/template', name)
    with open('list', 'w', encoding='utf-8') as f:
        f.writelines(name + '\n' for name in names)
    return names


def records(path):
    """All lines of a file, each of which has to be a record, and whole."""
    with open(path, 'rb') as f:
        data = f.read()
    require(data.endswith(b'\n'), path, 'does not end with a line')
    lines = data[:-1].split(b'\n')
    require(all(len(line) < 4096 for line in lines), 'a line is too long')
    return [json.loads(line) for line in lines]


def load(engine, database, *files, code=0):
    return run(HOME + '/load.sh', engine, database, 'list', *files, code=code)


def question_files():
    return sorted(glob.glob(HOME + '/questions/*.sql'))


def value(text):
    """What engines print of one value, which is not the same: a number, or a text."""
    try:
        return round(float(text), 3)
    except ValueError:
        return text


def ask(engine, database, number):
    """The rows of an answer."""
    question = question_files()[number - 1]
    if engine == 'duckdb':
        out = run('duckdb', '-bail', '-csv', '-noheader', database, ".read '%s'" % question)
    elif engine == 'sqlite':
        out = run('sqlite3', '-bail', '-csv', database, ".read '%s'" % question)
    else:
        out = run('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '--csv', '-t', '-d', database, '-f', question)
    return [tuple(value(v) for v in row) for row in csv.reader(io.StringIO(out))]


def statement(engine, database, text):
    """SQL that has no answer."""
    if engine == 'duckdb':
        run('duckdb', '-bail', database, text)
    elif engine == 'sqlite':
        run('sqlite3', '-bail', database, text)
    else:
        run('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', text)


class PostgreSQL:
    """A server of its own in a folder, over a socket there, by a user who is not root, which it would refuse."""

    def __init__(self):
        self.tools = max(glob.glob('/usr/lib/postgresql/*/bin'), key=lambda p: int(p.split('/')[4]))
        self.folder = os.path.abspath('postgresql')
        os.mkdir(self.folder)
        self.before = []
        if os.getuid() == 0:
            os.chown(self.folder, 65534, 65534)
            self.before = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
        self.run('initdb', '-D', self.folder + '/data', '-U', 'fleet', '-A', 'trust', '-N', '--no-locale', '-E', 'UTF8')
        self.run('pg_ctl', '-D', self.folder + '/data', '-w', '-t', '300', '-l', self.folder + '/log',
                 '-o', "-c listen_addresses='' -c unix_socket_directories='%s' -c fsync=off" % self.folder, 'start')
        self.database = 'host=%s user=fleet dbname=postgres' % self.folder

    def run(self, tool, *argv):
        run(*self.before, self.tools + '/' + tool, *argv, cwd=self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.run('pg_ctl', '-D', self.folder + '/data', '-w', '-m', 'immediate', 'stop')
