# qsession.py - QEMU's programs that stay: one qemu-io and one qemu-storage-daemon for all that a thread of a test asks
#
# SPDX-License-Identifier: MIT
#
# To start such a program costs ten times what most of the questions cost, and the tests have tens of thousands of them.
# An image is open for the time of one question only; no other program of a test finds it locked.

import atexit
import contextlib
import json
import multiprocessing.util
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

PLAIN = re.compile(r'[-A-Za-z0-9_./:+]+\Z')  # no quoting is needed in a line of qemu-io
MAGIC, OPTION, OPTION_REPLY = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
REQUEST, REPLY = 0x25609513, 0x668e33ef
OPT_GO, OPT_STRUCTURED, OPT_SET_CONTEXT = 7, 8, 10
REP_ACK, REP_INFO, REP_CONTEXT, REP_ERROR = 1, 3, 4, 1 << 31
CMD_DISCONNECT, CMD_BLOCK_STATUS = 2, 7
CHUNK_STATUS, CHUNK_ERROR, CHUNK_DONE = 5, 1 << 15, 1


class Ended(Exception):
    """The program has ended, or did not answer as it should."""


class Program:
    """A child that reads lines and is there until the thread of the test ends."""

    own = threading.local()
    all_of = {}  # by process: a fork must not talk to those of its parent, nor end them

    @classmethod
    def get(cls):
        """The one of this thread, with which it ends, too."""
        mine = Program.own.__dict__.setdefault(os.getpid(), {})
        if cls not in mine:
            mine[cls] = cls()
            if os.getpid() not in Program.all_of:
                atexit.register(Program.end_all)
                multiprocessing.util.Finalize(None, Program.end_all, exitpriority=1)  # a pool's worker runs no atexit
            Program.all_of.setdefault(os.getpid(), []).append(mine[cls])
        return mine[cls]

    @staticmethod
    def end_all():
        for program in Program.all_of.pop(os.getpid(), []):
            program.close()

    def end(self):
        """It is of no use any more: who asks next gets another one."""
        Program.own.__dict__.get(os.getpid(), {}).pop(type(self), None)
        self.close()

    def start(self, argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def send(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # what was said before that is read below

    def close(self):
        self.process.kill()
        self.process.communicate()


class Io(Program):
    """qemu-io, which opens and closes an image for each list of commands."""

    PROMPT = b'qemu-io> '

    def __init__(self):
        self.start(['qemu-io'])
        self.answer()

    def run(self, driver, path, commands, data_file=None):
        """What each of the commands prints. The image is flushed when it is closed, not after each of them."""
        said = []
        options = 'driver=' + driver + (',data-file.driver=file,data-file.filename=' + data_file if data_file else '')
        for line in ('open -t unsafe -o %s %s' % (options, path), *commands, 'close'):
            self.send(line + '\n')  # it waits for the descriptor: of two lines the second would lie in its buffer
            said.append(self.answer().decode('utf-8', 'replace'))
        return said

    def answer(self):
        got = b''
        while not got.endswith(self.PROMPT):
            piece = os.read(self.process.stdout.fileno(), 65536)
            got += piece
            if not piece:
                self.end()
                raise Ended('qemu-io ended: ' + got.decode('utf-8', 'replace'))
        return got[:-len(self.PROMPT)]


class Daemon(Program):
    """qemu-storage-daemon, which serves an image and its bitmaps for one question."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='qcbm-qsd')
        self.socket = os.path.join(self.folder, 'nbd')
        self.events = []
        # without a process that asks it must not stay: the end of its input is none to it
        self.start(['setpriv', '--pdeathsig', 'KILL', 'qemu-storage-daemon', '--chardev', 'stdio,id=m',
                    '--monitor', 'chardev=m', '--nbd-server', 'addr.type=unix,addr.path=' + self.socket])
        self.message()  # the greeting
        self.ask('qmp_capabilities')

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def message(self):
        line = self.process.stdout.readline()
        if not line.startswith(b'{'):
            self.end()
            raise Ended('qemu-storage-daemon says: ' + line.decode('utf-8', 'replace'))
        return json.loads(line)

    def ask(self, command, **arguments):
        # as short as may be: a monitor reads byte for byte
        self.send(json.dumps({'execute': command, 'arguments': arguments}, separators=(',', ':')) + '\n')
        while True:
            answer = self.message()
            if 'error' in answer:
                raise Ended('%s: %s' % (command, answer['error']['desc']))
            if 'return' in answer:
                return answer['return']
            self.events.append(answer.get('event'))

    @contextlib.contextmanager
    def image(self, path, data_file, alone=False):
        node = {'driver': 'qcow2', 'node-name': 'i', 'read-only': True,
                'file': {'driver': 'file', 'filename': path}}
        if data_file:
            node['data-file'] = {'driver': 'file', 'filename': data_file}
        if alone:
            node['backing'] = None
        self.ask('blockdev-add', **node)
        try:
            yield
        finally:
            self.ask('blockdev-del', **{'node-name': 'i'})

    @contextlib.contextmanager
    def export(self, bitmaps, depth):
        more = {'node-name': 'i', **({'bitmaps': list(bitmaps)} if bitmaps else {}),
                **({'allocation-depth': True} if depth else {})}
        self.ask('block-export-add', type='nbd', id='e', **more)
        try:
            yield
        finally:
            self.ask('block-export-del', id='e', mode='hard')
            while 'BLOCK_EXPORT_DELETED' not in self.events:
                self.events.append(self.message().get('event'))
            self.events.clear()

    def statuses(self, path, data_file, contexts, bitmaps=(), alone=False):
        """For each of the contexts (start, end, type) of all extents. alone: without the backing file."""
        with self.image(path, data_file, alone), self.export(bitmaps, 'qemu:allocation-depth' in contexts):
            return [Client(self.socket, 'i', context).rows() for context in contexts]

    def info(self, path, data_file):
        """What `qemu-img info --output=json` prints, with absolute names of files."""
        with self.image(path, data_file):
            nodes = self.ask('query-named-block-nodes', flat=True)
        return next(node['image'] for node in nodes if node['node-name'] == 'i')


class Client:
    """NBD, as far as it asks for the status of blocks in one context."""

    def __init__(self, path, export, context):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = self.socket.makefile('rb')
        magic, _, _ = struct.unpack('>QQH', self.take(18))
        if magic != MAGIC:
            raise Ended('not an NBD server')
        self.socket.sendall(struct.pack('>I', 3))
        self.option(OPT_STRUCTURED, b'')
        name, context = export.encode(), context.encode()
        if REP_CONTEXT not in [kind for kind, _ in self.option(OPT_SET_CONTEXT, struct.pack('>I', len(name)) + name
                               + struct.pack('>II', 1, len(context)) + context)]:
            raise Ended('the server has no context ' + context.decode())
        info = dict(self.option(OPT_GO, struct.pack('>I', len(name)) + name + bytes(2)))[REP_INFO]
        self.size = struct.unpack_from('>HQ', info)[1]

    def take(self, length):
        got = self.stream.read(length)
        if len(got) < length:
            raise Ended('the NBD server closed the connection')
        return got

    def option(self, number, data):
        self.socket.sendall(struct.pack('>QII', OPTION, number, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] != REP_ACK:
            magic, _, kind, length = struct.unpack('>QIII', self.take(20))
            data = self.take(length)
            if magic != OPTION_REPLY or kind & REP_ERROR:
                raise Ended('option %d is answered by %#x: %r' % (number, kind, data))
            if kind != REP_INFO or data[:2] == bytes(2):  # of what is told of an export, its size
                replies.append((kind, data))
        return replies

    def extents(self, at):
        """Pairs of length and type from there on, some of them."""
        length = min(self.size - at, (1 << 32) - (1 << 16))
        self.socket.sendall(struct.pack('>IHHQQI', REQUEST, 0, CMD_BLOCK_STATUS, 0, at, length))
        found = []
        while True:
            magic, flags, kind, _, length = struct.unpack('>IHHQI', self.take(20))
            data = self.take(length)
            if magic != REPLY or kind & CHUNK_ERROR:
                raise Ended('block status at %d is answered by %#x: %r' % (at, kind, data))
            if kind == CHUNK_STATUS:
                found += struct.iter_unpack('>II', data[4:])
            if flags & CHUNK_DONE:
                return found

    def rows(self):
        """(start, end, type) of all of the disk."""
        with self.socket, self.stream:
            rows, at = [], 0
            while at < self.size:
                for length, kind in self.extents(at):
                    rows.append((at, at + length, kind))
                    at += length
            self.socket.sendall(struct.pack('>IHHQQI', REQUEST, 0, CMD_DISCONNECT, 0, 0, 0))
        return rows
