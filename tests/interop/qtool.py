# qtool.py - shared parts of the interop tests: running the real tools, range arithmetic, an independent qcow2 reader
#
# SPDX-License-Identifier: MIT
#
# Nothing here uses qcbm's code: what an image holds is read either by the qemu tools or by class Qcow2 below, so that a
# misunderstanding in the library cannot hide in its own tests.

import argparse
import concurrent.futures
import contextlib
import errno
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib

import qsession

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SECRET = ['--object', 'secret,id=s0,data=interop']
RELATIVE = re.compile(r'-s [^/]')  # data from a file in the directory of the case
IO_LINES = 40  # so many that waiting for the answer to each costs more than to start a program
COMMAND_TIMEOUT = 300  # seconds: only against a tool that hangs, no result depends on it

EXT_END, EXT_BACKING_FORMAT, EXT_FEATURES = 0, 0xe2792aca, 0x6803f857
EXT_PADDING = 0x71634250  # qcbm's own: fills a gap, so that the bitmaps extension lies in one sector
EXT_BITMAPS, EXT_LUKS, EXT_DATA_FILE = 0x23852875, 0x0537be77, 0x44415441


class Failure(Exception):
    """One thing that should hold does not."""


def require(condition, message):
    if not condition:
        raise Failure(message)


def require_equal(got, expected, what):
    if got != expected:
        raise Failure('%s\n  got      %s\n  expected %s' % (what, shorten(got), shorten(expected)))


def shorten(value, limit=1500):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + '... (%d characters)' % len(text)


# ---- ranges: sorted lists of disjoint, non-touching (start, end) ------------------------------------------------

def ranges_norm(pieces):
    out = []
    for start, end in sorted(pieces):
        if start >= end:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def ranges_or(*sets):
    return ranges_norm([piece for one in sets for piece in one])


def ranges_clip(pieces, size):
    return ranges_norm([(start, min(end, size)) for start, end in pieces if start < size])


def ranges_invert(pieces, size):
    out, at = [], 0
    for start, end in ranges_clip(pieces, size):
        if at < start:
            out.append((at, start))
        at = end
    if at < size:
        out.append((at, size))
    return out


def ranges_minus(pieces, other, size):
    return ranges_invert(ranges_or(ranges_invert(pieces, size), other), size)


def ranges_total(pieces):
    return sum(end - start for start, end in pieces)


def ranges_outward(pieces, unit, size):
    """Every unit that a piece touches, clipped at size."""
    return ranges_clip([(start // unit * unit, -(-end // unit) * unit) for start, end in ranges_norm(pieces)], size)


def ranges_inward(start, end, unit, size):
    """The whole units inside [start, end); a last unit cut by the end of the disk counts as whole."""
    first = -(-start // unit) * unit
    last = end if end == size else end // unit * unit
    return (first, last) if first < last else None


def default_granularity(cluster_size):
    return min(max(cluster_size, 4 * KiB), 64 * KiB)


# ---- files ------------------------------------------------------------------------------------------------------

def data_segments(fd, size):
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:  # a block device does not tell
                yield at, size
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


def copy_sparse(source, target):
    with open(source, 'rb') as src, open(target, 'wb') as dst:
        size = os.fstat(src.fileno()).st_size
        os.ftruncate(dst.fileno(), size)
        for start, end in data_segments(src.fileno(), size):
            while start < end:
                piece = os.pread(src.fileno(), min(end - start, 4 * MiB), start)
                os.pwrite(dst.fileno(), piece, start)
                start += len(piece)


def read_segments(path):
    """The length of a file, and all that is no hole in it."""
    with open(path, 'rb') as f:
        size = os.fstat(f.fileno()).st_size
        return size, [(start, os.pread(f.fileno(), end - start, start))
                      for start, end in data_segments(f.fileno(), size)]


def write_segments(path, size, segments):
    with open(path, 'wb') as f:
        os.ftruncate(f.fileno(), size)
        for start, data in segments:
            os.pwrite(f.fileno(), data, start)


def digest(path):
    """Of content and length; holes and written zeros are the same."""
    total = hashlib.sha256()
    with open(path, 'rb') as f:
        size = f.seek(0, os.SEEK_END)
        total.update(b'%d' % size)
        for start, end in data_segments(f.fileno(), size):
            at = start
            while at < end:
                piece = os.pread(f.fileno(), min(MiB - at % MiB, end - at), at)
                for k in range(0, len(piece), 4096):
                    block = piece[k:k + 4096]
                    if block.count(0) != len(block):
                        total.update(b'%d:' % (at + k) + block.rstrip(b'\0'))
                at += len(piece)
    return total.hexdigest()


def patch(path, offset, data):
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def peek(path, offset, length):
    with open(path, 'rb') as f:
        f.seek(offset)
        return f.read(length)


def differing_ranges(path_a, path_b, size, block=512):
    """Where two raw files differ, each taken as zero-extended to size; in blocks."""
    out = []
    with open(path_a, 'rb') as a, open(path_b, 'rb') as b:
        for at in range(0, size, MiB):
            want = min(MiB, size - at)
            one, two = os.pread(a.fileno(), want, at), os.pread(b.fileno(), want, at)
            one, two = one.ljust(want, b'\0'), two.ljust(want, b'\0')
            if one != two:
                for k in range(0, want, block):
                    if one[k:k + block] != two[k:k + block]:
                        out.append((at + k, at + min(k + block, want)))
    return ranges_norm(out)


# ---- running the tools ------------------------------------------------------------------------------------------

def qcbm_path():
    path = os.environ.get('QCBM', 'qcbm')
    found = shutil.which(path)
    if found is None:
        sys.exit('not ok - QCBM=%s: no such program; set QCBM to the path of the built tool' % path)
    return os.path.abspath(found)


def need_tools(*names):
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        sys.exit('not ok - these programs are needed: ' + ' '.join(missing))


def fixtures():
    """The maker of fixtures, as a module."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'fixtures')
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import make
    return make


@contextlib.contextmanager
def loop_device(work, name):
    """A block device of that file; None where nobody may make one."""
    made = work.run('losetup', '--find', '--show', work.path(name), rc=None)
    device = None if made.code else made.out.strip()
    try:
        yield device
    finally:
        if device:
            work.run('losetup', '-d', device)


def strace_environment():
    """LeakSanitizer, in a build that has it, does not work under strace."""
    return dict(os.environ, ASAN_OPTIONS=':'.join(filter(None, [os.environ.get('ASAN_OPTIONS'), 'detect_leaks=0'])))


class Result:
    def __init__(self, code, out, err, raw_out):
        self.code, self.out, self.err, self.raw_out = code, out, err, raw_out


# A LUKS slot is made with as many rounds of hashing as take some time: qemu-img measures that, and a busy machine
# confuses it.
NO_MEASURE, PATIENCE = 'accurate CPU usage', 30


def run_patiently(command, timeout):
    """A command that must work, which is asked again if it could only not measure."""
    for _ in range(PATIENCE):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        if NO_MEASURE.encode() not in done.stderr:
            break
    done.check_returncode()
    return done


MADE = {}  # key -> name -> length and segments
CREATED = {}  # arguments of `qemu-img create` -> what it has made of them: the same whenever they are the same


class Work:
    """A directory of one case, and a record of the commands run in it."""

    def __init__(self, path, name=''):
        self.dir = path
        self.dice = random.Random(name)
        self.log = []
        self.servers = 0

    def path(self, name):
        return os.path.join(self.dir, name)

    def some(self, choices, count):
        """So many of the questions that each case may ask, in their order: others in the next case. All with --full."""
        chosen = range(len(choices)) if FULL else sorted(self.dice.sample(range(len(choices)), count))
        return [choices[k] for k in chosen]

    def note(self, text):
        self.log.append(text)

    def run(self, *argv, rc=0, shown=None):
        """Run in the case's directory. rc: the exit code that must come, a tuple of such, or None for any."""
        argv = [str(a) if not isinstance(a, bytes) else a for a in argv]
        line = shlex.join(shown or [a if isinstance(a, str) else os.fsdecode(a) for a in argv])
        self.log.append(line)
        try:
            done = subprocess.run(argv, cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True,
                                  env=strace_environment() if argv[0] == 'strace' else None, timeout=COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure('no end after %d s: %s' % (COMMAND_TIMEOUT, line))
        result = Result(done.returncode, done.stdout.decode('utf-8', 'replace'),
                        done.stderr.decode('utf-8', 'replace'), done.stdout)
        allowed = (rc,) if isinstance(rc, int) else rc
        if allowed is not None and result.code not in allowed:
            raise Failure('%s\n  exit code %d, expected %s\n  stdout: %s\n  stderr: %s'
                          % (line, result.code, ' or '.join(map(str, allowed)), shorten(result.out),
                             shorten(result.err)))
        return result

    def qcbm(self, *argv, rc=0):
        """Run the tool. A signal or a sanitizer's report is a failure whatever rc says."""
        result = self.run(QCBM, *argv, rc=None,
                          shown=['qcbm'] + [a if isinstance(a, str) else os.fsdecode(a) for a in map_args(argv)])
        line = self.log[-1]
        text = '\n  stdout: %s\n  stderr: %s' % (shorten(result.out), shorten(result.err))
        require(result.code >= 0, '%s\n  died of signal %d%s' % (line, -result.code, text))
        require('Sanitizer' not in result.err and 'runtime error:' not in result.err, line + text)
        allowed = (rc,) if isinstance(rc, int) else rc
        if allowed is not None:
            require(result.code in allowed, '%s\n  exit code %d, expected %s%s'
                    % (line, result.code, ' or '.join(map(str, allowed)), text))
        return result

    def qcbm_refused(self, *argv, says=(), file=None, unchanged=()):
        """Run the tool where it must fail: exit 1, empty stdout, one line on stderr that names the file and says all
        of the given patterns, and the files as they were."""
        before = {name: digest(self.path(name)) for name in unchanged}
        result = self.qcbm(*argv, rc=1)
        line = self.log[-1]
        require_one_line(result, line, file)
        require(result.out == '', '%s\n  stdout is not empty on failure: %s' % (line, shorten(result.out)))
        for pattern in says:
            require(re.search(pattern, result.err), '%s\n  stderr does not say /%s/: %s'
                    % (line, pattern, result.err))
        for name, was in before.items():
            require(digest(self.path(name)) == was, '%s\n  failed, but changed %s' % (line, name))
        return result

    def io(self, image, *commands, opts=None, fmt='qcow2', may_fail=False):
        """qemu-io with one or more commands; a failing command fails. No test looks at the time before it has closed the
        image, so that the disk need not be waited for."""
        argv = ['qemu-io', '-t', 'unsafe'] + (SECRET + ['--image-opts', opts] if opts else ['-f', fmt, image])
        for command in commands:
            argv += ['-c', command]
        result = None if opts or len(commands) > IO_LINES else self.io_of_the_session(argv, image, commands, fmt)
        result = result or self.run(*argv, rc=None if may_fail else 0)
        bad = re.search(r'failed|[Ee]rror|invalid|not supported|Operation|not found', result.out + result.err)
        require(bad is None or may_fail, '%s\n  %s' % (self.log[-1], shorten(result.out + result.err)))
        return result

    def io_of_the_session(self, argv, image, commands, fmt):
        """None where the image is one for a program in the directory of the case, as one over an absent file is."""
        if not qsession.PLAIN.match(self.path(image)) or any(RELATIVE.search(command) for command in commands):
            return None
        try:
            data_file = self.data_file(image) if fmt == 'qcow2' else None
            said = qsession.Io.get().run(fmt, self.path(image), commands, data_file)
        except qsession.Ended as e:
            raise Failure('%s\n  %s' % (shlex.join(argv), e))
        if "can't open device" in said[0]:
            return None
        self.log.append(shlex.join(argv))
        # there is no exit code: what was done says so, or nothing where that is wanted
        wrong = [(command, text) for command, text in zip(commands, said[1:])
                 if not (re.match(r'(wrote|read|discard) (\d+)/\2 bytes', text) if ' -q' not in command else text == '')
                 and command.split()[0] in ('write', 'read', 'discard')]
        out = ''.join(said) + ''.join('failed: %s: %s' % pair for pair in wrong)
        return Result(1 if wrong else 0, out, '', out.encode())

    def create(self, image, size, options='', backing=None, backing_format='qcow2', luks=False):
        """qemu-img create of a qcow2 image."""
        if luks:
            options = ','.join(filter(None, [options, 'encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10']))
        return self.create_image([*(SECRET if luks else []), *(['-o', options] if options else []),
                                  *(['-b', backing, '-F', backing_format] if backing else [])], image, size)

    def create_image(self, arguments, image, size):
        """qemu-img create of a qcow2 image, whatever the arguments; those that leave one file are made once."""
        argv = ['qemu-img', 'create', '-q', '-f', 'qcow2', *arguments, image, size]
        known = tuple(map(str, (*arguments, size)))
        if re.search('data_file|prealloc|encrypt|secret', ' '.join(known)):
            known = None
        if known in CREATED:
            self.log.append(shlex.join(map(str, argv)))
            write_segments(self.path(image), *CREATED[known])
            return image
        for _ in range(PATIENCE):
            result = self.run(*argv, rc=None)
            if NO_MEASURE not in result.err:
                break
        require(result.code == 0, '%s\n  exit code %d: %s' % (self.log[-1], result.code, result.err))
        if known:
            CREATED[known] = read_segments(self.path(image))
        return image

    def made_once(self, key, names, make):
        """The files that make() makes: made once for a key, then copied."""
        if repr(key) in MADE:
            for name, content in MADE[repr(key)].items():
                write_segments(self.path(name), *content)
            self.note('# as before: %r' % (key,))
            return
        make()
        MADE[repr(key)] = {name: read_segments(self.path(name)) for name in names if os.path.exists(self.path(name))}

    def check(self, image, opts=None):
        """qemu-img check: exit 0, neither errors nor leaks, nothing on stderr."""
        argv = ['qemu-img', 'check'] + (SECRET + ['--image-opts', opts] if opts else ['-f', 'qcow2', image])
        result = self.run(*argv, rc=None)
        require(result.code == 0 and 'No errors were found on the image.' in result.out and result.err == '',
                '%s\n  exit code %d\n  %s\n  %s' % (self.log[-1], result.code, shorten(result.out), result.err))

    def info(self, image, opts=None):
        argv = ['qemu-img', 'info', '--output=json'] + (SECRET + ['--image-opts', opts] if opts
                                                        else ['-f', 'qcow2', image])
        return json.loads(self.run(*argv).out)

    def info_bitmaps(self, image, opts=None):
        """name -> (granularity, sorted flags) as qemu-img info shows them."""
        return bitmaps_of((None if opts else self.asked('info', image)) or self.info(image, opts))

    def asked(self, question, image, *details):
        """The answer of the qemu-storage-daemon that stays; None where it cannot open the image."""
        with contextlib.suppress(qsession.Ended):
            return getattr(qsession.Daemon.get(), question)(self.path(image), self.data_file(image), *details)

    def data_file(self, image):
        """Path of an external data file, which QEMU looks for in the directory that it is started in; or None."""
        path = self.path(image)
        if not os.path.exists(path) or not peek(path, 72, 8).ljust(8, b'\0')[7] & 4:
            return None
        return self.path(os.fsdecode(Qcow2(path).extension(EXT_DATA_FILE) or b''))

    def map_allocated(self, image, opts=None):
        """What qemu-img map calls allocated in the image itself."""
        argv = ['qemu-img', 'map', '--output=json'] + (SECRET + ['--image-opts', opts] if opts
                                                       else ['-f', 'qcow2', image])
        rows = json.loads(self.run(*argv).out)
        at = 0
        for row in rows:
            require(row['start'] == at, 'qemu-img map has a gap at %d' % at)
            at += row['length']
        return ranges_norm([(r['start'], r['start'] + r['length']) for r in rows
                            if r['depth'] == 0 and r['present']])

    def serve(self, image, bitmaps=(), depth=False, opts=None):
        return Server(self, image, bitmaps, depth, opts)


def bitmaps_of(info):
    """name -> (granularity, sorted flags)"""
    return {b['name']: (b['granularity'], sorted(b['flags'])) for b in info['format-specific']['data'].get('bitmaps', [])}


def map_args(argv):
    return [a if isinstance(a, (str, bytes)) else str(a) for a in argv]


def require_one_line(result, line, file=None):
    """A refusal is one line on stderr, besides hints, and names the file."""
    text = re.sub(r'(?m)^qcbm: hint: .*\n', '', result.err)  # which may follow
    require(text.endswith('\n') and text.count('\n') == 1, '%s\n  stderr is not one line: %s' % (line, shorten(text)))
    # what qemu-img says about an operation has no file name in it, and scripts may look for its words
    theirs = re.match(r"qcbm: Operation \w+ on bitmap .* failed: (Dirty bitmap '.*' not found|Bitmap already exists: .*|"
                      r"Bitmap '.*' is inconsistent and cannot be used.*|Bitmap name cannot be empty|.*Name length exceeds .*)$",
                      text.rstrip('\n'))
    if file is not None and not theirs:
        require(file in text, '%s\n  stderr does not name %s: %s' % (line, file, text))


def extents_to_ranges(rows, what):
    """nbdinfo's rows, checked to be without gaps -> (dirty ranges, end)."""
    at, dirty = 0, []
    for row in rows:
        require(row['offset'] == at and row['length'] > 0, '%s: gap or overlap at %d' % (what, at))
        require((row['type'], row['description']) in ((0, 'clean'), (1, 'dirty')), '%s: row %r' % (what, row))
        at += row['length']
        if row['type'] == 1:
            dirty.append((row['offset'], at))
    return ranges_norm(dirty), at


class Server:
    """qemu-nbd -r that serves an image and its bitmaps on a socket."""

    def __init__(self, work, image, bitmaps, depth, opts):
        self.work, self.bitmaps = work, bitmaps
        work.servers += 1
        self.socket = work.path('nbd%d' % work.servers)
        self.pid_file = work.path('nbd%d.pid' % work.servers)
        self.argv = ['qemu-nbd', '-r', '-t', '-e', '4', '-k', self.socket, '--pid-file', self.pid_file]
        self.argv += ['-A'] if depth else []
        for name in bitmaps:
            self.argv += ['-B', name]
        self.argv += SECRET + ['--image-opts', opts] if opts else ['-f', 'qcow2', image]
        self.process = None

    def __enter__(self):
        shown = [os.path.basename(a) if a in (self.pid_file,) else a.replace(self.socket, '$PWD/' +
                 os.path.basename(self.socket)) for a in self.argv]
        self.work.note(' '.join(a if a.startswith('$PWD') else shlex.quote(a) for a in shown) + ' &')
        self.process = subprocess.Popen(self.argv, cwd=self.work.dir, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        started = time.monotonic()
        while not (os.path.exists(self.pid_file) and os.path.getsize(self.pid_file) > 0):
            if self.process.poll() is not None:
                message = self.process.stderr.read().decode('utf-8', 'replace')
                self.process.stderr.close()
                raise Failure('%s\n  ended with %d: %s' % (self.work.log[-1], self.process.returncode, message))
            if time.monotonic() - started > COMMAND_TIMEOUT:
                self.__exit__()
                raise Failure('%s\n  does not listen' % self.work.log[-1])
            time.sleep(0.002)
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()
        for name in (self.socket, self.pid_file):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def uri(self):
        return 'nbd+unix:///?socket=' + self.socket

    def nbdinfo(self, context, *options):
        shown = ['nbdinfo', *options, '--map=' + context, 'nbd+unix:///?socket=' + os.path.basename(self.socket)]
        return self.work.run('nbdinfo', *options, '--map=' + context, self.uri(), shown=shown).raw_out

    def rows(self, name):
        return json.loads(self.nbdinfo('qemu:dirty-bitmap:' + name, '--json'))

    def text(self, name):
        return self.nbdinfo('qemu:dirty-bitmap:' + name)

    def dirty(self, name):
        return extents_to_ranges(self.rows(name), 'nbdinfo of ' + name)[0]

    def allocated(self, depths=(1,)):
        """Ranges whose qemu:allocation-depth is one of depths."""
        rows = json.loads(self.nbdinfo('qemu:allocation-depth', '--json'))
        return ranges_norm([(r['offset'], r['offset'] + r['length']) for r in rows if r['type'] in depths])


def served_rows(work, image, contexts, bitmaps=(), opts=None, alone=False):
    """For each of the contexts (start, end, type) of all of the disk, as an NBD server of QEMU's tells them. What
    nbdinfo prints is to be had of work.serve(). alone: of this layer, whatever those below have by the same names."""
    found = None if opts else work.asked('statuses', image, contexts, bitmaps, alone)
    if found is None:
        require(not alone, 'qemu-storage-daemon does not serve %s without its backing file' % image)
        with work.serve(image, bitmaps, depth=True, opts=opts) as server:
            found = [[(row['offset'], row['offset'] + row['length'], row['type'])
                      for row in json.loads(server.nbdinfo(context, '--json'))] for context in contexts]
    return found


def served_dirty(work, image, names, opts=None, alone=False):
    """name -> dirty ranges."""
    contexts = ['qemu:dirty-bitmap:' + name for name in names]
    found = served_rows(work, image, contexts, names, opts, alone) if names else []
    return {name: ranges_norm([(start, end) for start, end, kind in rows if kind == 1])
            for name, rows in zip(names, found)}


def served_depth(work, image, opts=None):
    """What qemu:allocation-depth calls allocated in the image itself."""
    rows = served_rows(work, image, ['qemu:allocation-depth'], opts=opts)[0]
    return ranges_norm([(start, end) for start, end, kind in rows if kind == 1])


# ---- a small qcow2 reader ---------------------------------------------------------------------------------------

class Bitmap:
    """A directory entry, and its table."""

    def __init__(self, raw, at):
        (self.table_offset, self.table_size, self.flags, self.type, self.gran_bits, name_size,
         extra_size) = struct.unpack_from('>QIIBBHI', raw, at)
        self.entry_size = (24 + extra_size + name_size + 7) & ~7
        self.extra = raw[at + 24:at + 24 + extra_size]
        self.name = raw[at + 24 + extra_size:at + 24 + extra_size + name_size]
        self.raw = raw[at:at + self.entry_size]
        self.table = []

    @property
    def granularity(self):
        return 1 << self.gran_bits

    @property
    def in_use(self):
        return bool(self.flags & 1)

    @property
    def enabled(self):
        return bool(self.flags & 2)


class Qcow2:
    """What the metadata of an image says. Raises struct.error or Failure on an image it does not understand."""

    def __init__(self, path):
        self.path = path
        with open(path, 'rb') as f:
            self.file_size = os.fstat(f.fileno()).st_size
            head = f.read(2 * MiB)
        self.head = head
        (magic, self.version, self.backing_offset, self.backing_size, self.cluster_bits, self.size, self.crypt,
         self.l1_size, self.l1_offset, self.reftable_offset, self.reftable_clusters, self.nb_snapshots,
         self.snapshots_offset) = struct.unpack_from('>4sIQIIQIIQQIIQ', head, 0)
        require(magic == b'QFI\xfb', path + ': not qcow2')
        self.cluster_size = 1 << self.cluster_bits
        self.incompatible = self.compatible = self.autoclear = 0
        self.refcount_order, self.header_length = 4, 72
        if self.version >= 3:
            (self.incompatible, self.compatible, self.autoclear, self.refcount_order,
             self.header_length) = struct.unpack_from('>QQQII', head, 72)
        self.header = head[:self.header_length]
        self.extended_l2 = bool(self.incompatible & 16)
        self.extensions, self.extension_offsets = [], []
        at = self.header_length
        limit = self.backing_offset or self.cluster_size
        while at + 8 <= limit:
            kind, length = struct.unpack_from('>II', head, at)
            if kind == EXT_END:
                break
            self.extensions.append((kind, head[at + 8:at + 8 + length]))
            self.extension_offsets.append(at)
            at += 8 + ((length + 7) & ~7)
        self.extensions_end = at  # where END is, or would be
        self.backing = head[self.backing_offset:self.backing_offset + self.backing_size]
        self.directory_offset = self.directory_size = self.nb_bitmaps = 0
        for kind, data in self.extensions:
            if kind == EXT_BITMAPS:
                self.nb_bitmaps, _, self.directory_size, self.directory_offset = struct.unpack('>IIQQ', data)

    def read(self, offset, length):
        return peek(self.path, offset, length).ljust(length, b'\0')

    def words(self, offset, count):
        return struct.unpack('>%dQ' % count, self.read(offset, 8 * count))

    def extension(self, kind):
        found = [data for k, data in self.extensions if k == kind]
        return found[-1] if found else None

    def foreign(self):
        """Every extension but the one for bitmaps, and padding that belongs to it, in order."""
        return [(kind, data) for kind, data in self.extensions if kind not in (EXT_BITMAPS, EXT_PADDING)]

    def bitmaps_offset(self):
        """Where the bitmaps extension lies in the file."""
        for (kind, _), at in zip(self.extensions, self.extension_offsets):
            if kind == EXT_BITMAPS:
                return at
        return None

    def bitmaps(self):
        raw, out, at = self.read(self.directory_offset, self.directory_size), [], 0
        for _ in range(self.nb_bitmaps):
            one = Bitmap(raw, at)
            one.entry_offset = self.directory_offset + at
            one.table = list(self.words(one.table_offset, one.table_size))
            out.append(one)
            at += one.entry_size
        require(at == self.directory_size, '%s: bitmap directory of %d bytes, entries make %d'
                % (self.path, self.directory_size, at))
        return out

    def bitmap(self, name):
        name = name if isinstance(name, bytes) else name.encode()
        found = [b for b in self.bitmaps() if b.name == name]
        require(len(found) == 1, '%s: %d bitmaps named %r' % (self.path, len(found), name))
        return found[0]

    def bitmap_bytes(self, bitmap):
        """(offset in the bitmap's data, bytes or 0 or 1) for each table entry."""
        for k, entry in enumerate(bitmap.table):
            offset = entry & 0x00fffffffffffe00
            yield k * self.cluster_size, self.read(offset, self.cluster_size) if offset else entry & 1

    def bitmap_content(self, bitmap):
        """Everything a bitmap consists of, for 'not touched' comparisons: entry, place of the table, table, data."""
        return bitmap.raw, bitmap.table, [hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data
                                          for _, data in self.bitmap_bytes(bitmap)]

    def bitmap_dirty(self, bitmap):
        """The dirty ranges, read from the disk bit by bit, clipped at the virtual size."""
        g, out = bitmap.granularity, []
        for base, data in self.bitmap_bytes(bitmap):
            first = base * 8
            if data == 1:
                out.append((first * g, (first + self.cluster_size * 8) * g))
            elif isinstance(data, bytes) and data.count(0) != len(data):
                for match in re.finditer(rb'[^\0]+', data):
                    for k in range(match.start(), match.end()):
                        if data[k] == 0xff:
                            out.append(((first + 8 * k) * g, (first + 8 * k + 8) * g))
                            continue
                        for bit in range(8):
                            if data[k] >> bit & 1:
                                out.append(((first + 8 * k + bit) * g, (first + 8 * k + bit + 1) * g))
        return ranges_clip(out, self.size // 512 * 512)

    def bitmap_is_thrifty(self, bitmap):
        """All-clean and all-dirty data clusters must be table entries, tail bits zero."""
        bits = -(-(self.size // 512 * 512) // bitmap.granularity)
        for base, data in self.bitmap_bytes(bitmap):
            valid = min(bits - base * 8, self.cluster_size * 8)
            if data == 1:
                require(valid == self.cluster_size * 8, 'the last table entry says all ones beyond the last bit')
            elif isinstance(data, bytes):
                require(data.count(0) != len(data), 'a data cluster of zeros only')
                require(data.count(0xff) != len(data), 'a data cluster of ones only')
                tail = int.from_bytes(data, 'little') >> valid
                require(tail == 0, 'bits set after the last granule')

    def snapshot_table(self):
        """The entries as they lie on the disk."""
        out, at = [], self.snapshots_offset
        for _ in range(self.nb_snapshots):
            fixed = self.read(at, 40)
            id_size, name_size, extra = struct.unpack('>HH', fixed[12:16]) + struct.unpack('>I', fixed[36:40])
            length = 40 + extra + id_size + name_size
            out.append(self.read(at, length))
            at += (length + 7) & ~7
        return out

    def guest_tables(self):
        """Digest of the active L1 and of every L2 table that it names."""
        total = hashlib.sha256()
        l1 = self.words(self.l1_offset, self.l1_size)
        total.update(repr((self.l1_offset, self.l1_size)).encode())
        for index, entry in enumerate(l1):
            if entry:
                offset = entry & 0x00fffffffffffe00
                total.update(b'%d:%d:' % (index, entry) + self.read(offset, self.cluster_size))
        return total.hexdigest()

    def l2_place(self, guest):
        """Offset in the file of the L2 entry of a guest byte, or None."""
        width = 16 if self.extended_l2 else 8
        per_table = self.cluster_size // width
        cluster = guest // self.cluster_size
        entry = self.words(self.l1_offset + 8 * (cluster // per_table), 1)[0] & 0x00fffffffffffe00
        return entry + width * (cluster % per_table) if entry else None

    def refcount(self, offset):
        bits = 1 << self.refcount_order
        per_block = self.cluster_size * 8 // bits
        cluster = offset // self.cluster_size
        if cluster // per_block >= self.reftable_clusters * self.cluster_size // 8:
            return 0
        block = self.words(self.reftable_offset + 8 * (cluster // per_block), 1)[0] & ~511
        if not block:
            return 0
        index = cluster % per_block
        if bits < 8:
            return self.read(block + index * bits // 8, 1)[0] >> (index * bits % 8) & ((1 << bits) - 1)
        return int.from_bytes(self.read(block + index * bits // 8, bits // 8), 'big')

    def kept_state(self):
        """What no bitmap command may change, as a dict for require_equal()."""
        header = bytearray(self.header)
        header[8:16] = bytes(8)     # place of the backing name; the name itself is compared
        header[48:60] = bytes(12)   # refcount table: may grow
        if self.version >= 3:
            header[95] &= 0xfe      # autoclear bit 0: bitmaps
        return {'header': bytes(header).hex(), 'extensions': self.foreign(), 'backing name': self.backing,
                'snapshots': self.snapshot_table(), 'guest tables': self.guest_tables()}


def require_kept(before, after, what):
    for key, value in before.items():
        require_equal(after[key], value, '%s changed: %s' % (what, key))


def assemble_first_cluster(image, header, extensions, backing, gap=0):
    """Header area of new content: (bytes, backing offset). gap: bytes between END and the name."""
    out = bytearray(header)
    for kind, data in extensions:
        out += struct.pack('>II', kind, len(data)) + data + bytes(-len(data) % 8)
    out += bytes(8 + gap)
    offset = 0
    if backing:
        offset = len(out)
        out += backing
        out[8:20] = struct.pack('>QI', offset, len(backing))
    require(len(out) <= image.cluster_size, 'the test wants more than the first cluster holds')
    return bytes(out), offset


def rewrite_first_cluster(path, extensions=None, backing=None, header=None, gap=0):
    """Lay the first cluster out anew; everything not given stays. All of it after the name becomes zero."""
    image = Qcow2(path)
    data, _ = assemble_first_cluster(image, image.header if header is None else header,
                                     image.extensions if extensions is None else extensions,
                                     image.backing if backing is None else backing, gap)
    limit = min(image.cluster_size, image.file_size)
    patch(path, 0, data.ljust(limit, b'\0'))


def inject_extension(path, kind, data, place='back', reserve=32):
    """Add a foreign extension at the front or the back of the list. reserve: bytes that must stay free."""
    image = Qcow2(path)
    extensions = list(image.extensions)
    extensions.insert(0 if place == 'front' else len(extensions), (kind, data))
    whole, _ = assemble_first_cluster(image, image.header, extensions, image.backing)
    if len(whole) + reserve > image.cluster_size:
        return False
    rewrite_first_cluster(path, extensions)
    return True


def set_feature_bits(path, word, bits):
    """word: 'incompatible', 'compatible' or 'autoclear'."""
    at = {'incompatible': 72, 'compatible': 80, 'autoclear': 88}[word]
    value = struct.unpack('>Q', peek(path, at, 8))[0]
    patch(path, at, struct.pack('>Q', value | bits))


def clear_feature_bits(path, word, bits):
    at = {'incompatible': 72, 'compatible': 80, 'autoclear': 88}[word]
    value = struct.unpack('>Q', peek(path, at, 8))[0]
    patch(path, at, struct.pack('>Q', value & ~bits))


# ---- running cases ----------------------------------------------------------------------------------------------

QCBM = None
FULL = False  # many more cases, and in each of them all questions


def _run_case(job):
    """In a worker process: (name, failure text or None)."""
    global QCBM, FULL
    function, name, params, root, QCBM, FULL, keep = job
    directory = tempfile.mkdtemp(prefix='c', dir=root)
    work = Work(directory, name)
    try:
        function(work, **params)
        return name, None
    except Failure as failure:
        text = str(failure)
    except Exception:
        text = traceback.format_exc()
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    return name, text + '\nparameters: %r\ncommands, in an empty directory:\n  ' % (params,) + '\n  '.join(work.log)


def arguments(description, **counts):
    """counts: options of the test's own that take a number, with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--case', action='append', metavar='NAME', help='run only this case (may be repeated)')
    parser.add_argument('--match', metavar='REGEX', help='run only the cases whose name matches')
    parser.add_argument('--list', action='store_true', help='list the cases, run none')
    parser.add_argument('--full', action='store_true', help='run many more cases')
    parser.add_argument('--seed', type=int, default=20731, help='seed of the random choices (default %(default)s)')
    parser.add_argument('--jobs', type=int, default=2, help='cases at a time (default %(default)s)')
    parser.add_argument('--shard', metavar='I/N', help='of all cases each Nth, from the Ith on')
    parser.add_argument('--keep', metavar='DIR', help='work in DIR and leave the images there')
    for name, default in counts.items():
        parser.add_argument('--' + name, type=int, default=default, metavar='N', help='default %(default)s')
    return parser.parse_args()


def test_part():
    """QCBM_TEST_PART=N: each Nth case only, for builds with sanitizers, which are slow."""
    return int(os.environ.get('QCBM_TEST_PART', '1'))


def part_of(cases):
    return cases[::test_part()]


def run_cases(args, function_cases):
    """function_cases: list of (function, name, params). Prints ok/not ok; exits 0 or 1."""
    chosen = [c for c in function_cases
              if (not args.case or c[1] in args.case) and (not args.match or re.search(args.match, c[1]))]
    if args.shard:
        first, step = (int(number) for number in args.shard.split('/'))
        chosen = chosen[first - 1::step]
    if not args.case and not args.match:
        chosen = part_of(chosen)
    if args.list:
        for _, name, _ in chosen:
            print(name)
        sys.exit(0)
    names = [name for _, name, _ in function_cases]
    if len(set(names)) != len(names):
        sys.exit('not ok - case names are not unique')
    if not chosen:
        sys.exit('not ok - no such case')
    tool = qcbm_path()
    script = os.path.basename(sys.argv[0])
    failed = 0
    with contextlib.ExitStack() as stack:
        if args.keep:
            os.makedirs(args.keep, exist_ok=True)
            root = os.path.abspath(args.keep)
        else:
            root = stack.enter_context(tempfile.TemporaryDirectory(prefix='qcbm'))
        pool = stack.enter_context(concurrent.futures.ProcessPoolExecutor(max_workers=args.jobs))
        jobs = [(function, name, params, root, tool, args.full, bool(args.keep)) for function, name, params in chosen]
        print('1..%d' % len(jobs))
        for number, (name, failure) in enumerate(pool.map(_run_case, jobs), 1):
            print('%sok %d - %s' % ('not ' if failure else '', number, name), flush=True)
            if failure:
                failed += 1
                for line in failure.split('\n'):
                    print('#   ' + line)
                print('#   again: QCBM=%s python3 %s --seed %d%s --case %s --keep DIR'
                      % (shlex.quote(tool), script, args.seed, ' --full' if args.full else '', shlex.quote(name)),
                      flush=True)
    print('# %d cases, %d failed, seed %d' % (len(jobs), failed, args.seed))
    sys.exit(1 if failed else 0)


def here():
    """For a test that works in one directory after the other."""
    return Work(os.getcwd())


def one_form(*key):
    """Of text and JSON the one to compare in this of many like cases."""
    return ('', '--output=json')[zlib.crc32(repr(key).encode()) & 1]


def run_parts(prefix, parts, faults, count):
    """Each of @parts, which are functions, in an empty folder of its own; then what they added to @faults, and the line of
    figures that @count() gives. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix=prefix) as scratch:
        for part in parts:
            os.makedirs(os.path.join(scratch, part.__name__))
            os.chdir(os.path.join(scratch, part.__name__))
            part()
        os.chdir('/')
    for fault in faults:
        print('FAIL ' + fault)
    print(count())
    return 1 if faults else 0
