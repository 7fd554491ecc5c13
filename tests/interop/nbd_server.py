# nbd_server.py - an NBD server in the test's own process, which answers well, or as a broken or hostile one does
#
# SPDX-License-Identifier: MIT

import contextlib
import os
import socket
import struct
import threading
import time

REPLY_MAGIC = 0x3e889045565a9
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO, OPT_STRUCTURED, OPT_SET_CONTEXT = 1, 2, 6, 7, 8, 10
REP_ACK, REP_INFO, REP_CONTEXT, REP_UNSUPPORTED = 1, 3, 4, 0x80000001
READ, DISCONNECT, STATUS = 0, 2, 7
DONE = 1
NONE, DATA, HOLE, BLOCK_STATUS, ERROR = 0, 1, 2, 5, 0x8001
EIO = 5


class Closed(Exception):
    """The client has gone, or is to be left alone."""


class Server:
    """One mode of behaviour; see the functions that look at it. @at: the read that it begins with, from 1 on."""

    def __init__(self, path, data, mode='good', at=1, contexts=('base:allocation',), extents=None,
                 size=None):
        self.path, self.data, self.mode, self.at, self.contexts = path, data, mode, at, contexts
        self.extents = extents or {}
        self.length = len(data) if size is None else size
        self.reads = self.read_bytes = self.most = 0
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen()
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        os.unlink(self.path)

    def uri(self):
        return 'nbd+unix:///?socket=' + self.path

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                one = self.listener.accept()[0]
                self.open.append(one)
                threading.Thread(target=self.serve, args=(one,), daemon=True).start()

    def serve(self, s):
        with contextlib.suppress(Closed, OSError):
            self.handshake(s)
            self.transmission(s)
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)
        s.close()

    @staticmethod
    def take(s, n):
        got = b''
        while len(got) < n:
            piece = s.recv(n - len(got))
            if not piece:
                raise Closed
            got += piece
        return got

    # ---- before there are requests ----

    def size(self):
        return {'huge-size': (1 << 63) - 1, 'size-above': (1 << 64) - 1, 'no-size': 0}.get(self.mode, self.length)

    def handshake(self, s):
        if self.mode == 'silent-handshake':
            self.take(s, 1 << 20)
        s.sendall(b'NBDMAGIC' + (b'IHAVEOPX' if self.mode == 'bad-magic' else b'IHAVEOPT') + struct.pack('>H', 3))
        self.take(s, 4)
        while True:
            _, option, length = struct.unpack('>8sII', self.take(s, 16))
            body = self.take(s, length)

            def reply(kind, payload=b''):
                s.sendall(struct.pack('>QIII', REPLY_MAGIC, option, kind, len(payload)) + payload)
            if option == OPT_STRUCTURED and self.mode != 'simple':
                reply(REP_ACK)
            elif option == OPT_SET_CONTEXT:
                self.choose_contexts(reply, body)
            elif option in (OPT_GO, OPT_INFO):
                self.tell_export(reply)
                if option == OPT_GO:
                    return
            else:
                reply(REP_UNSUPPORTED)

    def choose_contexts(self, reply, body):
        for number, name in enumerate(self.contexts):
            if name.encode() in body:
                reply(REP_CONTEXT, struct.pack('>I', number + 1) + name.encode())
        while self.mode == 'endless-contexts':
            reply(REP_CONTEXT, struct.pack('>I', 7) + b'x:' + b'y' * 2000)
        reply(REP_ACK)

    def tell_export(self, reply):
        reply(REP_INFO, struct.pack('>HQH', 0, self.size(), 1 | 2))
        while self.mode == 'endless-info':
            reply(REP_INFO, struct.pack('>HQH', 0, self.size(), 1 | 2))
        if self.mode == 'size-changes':
            reply(REP_INFO, struct.pack('>HQH', 0, 2 * self.size(), 1 | 2))
        if self.mode == 'blocks':
            reply(REP_INFO, struct.pack('>HIII', 3, 512, 4096, 64 << 10))
        if self.mode == 'large-blocks':
            reply(REP_INFO, struct.pack('>HIII', 3, 65536, 65536, 1 << 20))
        if self.mode == 'huge-blocks':
            reply(REP_INFO, struct.pack('>HIII', 3, 131072, 131072, 1 << 20))
        if self.mode == 'odd-blocks':
            reply(REP_INFO, struct.pack('>HIII', 3, 3, 5, 7))
        reply(REP_ACK)

    # ---- requests ----

    def transmission(self, s):
        waiting = []
        while True:
            if waiting and (len(waiting) >= 16 or not self.more(s)):
                for request in waiting:
                    self.answer(s, *request)
                waiting = []
            _, _, kind, cookie, offset, length = struct.unpack('>IHHQQI', self.take(s, 28))
            if kind == DISCONNECT:
                raise Closed
            if self.mode != 'hold':
                self.answer(s, kind, cookie, offset, length)
                continue
            waiting.append((kind, cookie, offset, length))
            self.most = max(self.most, len(waiting))

    @staticmethod
    def more(s):
        """A moment for the next request, where answers are held back until many are in flight."""
        s.settimeout(0.2)
        try:
            return bool(s.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            s.settimeout(None)

    def answer(self, s, kind, cookie, offset, length):
        if kind == STATUS:
            return self.answer_status(s, cookie, offset, length)
        if kind != READ:
            return self.chunk(s, cookie, ERROR, struct.pack('>IH', 22, 0), DONE)
        with self.lock:
            self.reads += 1
            number = self.reads
            self.read_bytes += length
        if self.mode == 'simple':
            s.sendall(struct.pack('>IIQ', 0x67446698, 0, cookie) + self.data[offset:offset + length])
        elif number < self.at or (self.mode == 'fail-once' and number > self.at):
            self.answer_well(s, cookie, offset, length)
        else:
            self.answer_read(s, cookie, offset, length)
        return None

    @staticmethod
    def chunk(s, cookie, kind, payload=b'', flags=0, length=None):
        s.sendall(struct.pack('>IHHQI', 0x668e33ef, flags, kind, cookie, len(payload) if length is None else length)
                  + payload)

    def answer_well(self, s, cookie, offset, length):
        data = self.data[offset:offset + length]
        self.chunk(s, cookie, DATA, struct.pack('>Q', offset) + data.ljust(length, b'\0'), DONE)

    def answer_read(self, s, cookie, offset, length):
        mode, data = self.mode, self.data[offset:offset + length].ljust(min(length, 1 << 20), b'\0')
        at = struct.pack('>Q', offset)
        if mode in ('fail-once', 'fail-from'):
            self.chunk(s, cookie, ERROR, struct.pack('>IH', EIO, 0), DONE)
        elif mode == 'die':
            raise Closed
        elif mode == 'die-in-reply':
            self.chunk(s, cookie, DATA, at + data[:len(data) // 2], DONE, length + 8)
            raise Closed
        elif mode == 'silent':
            pass
        elif mode == 'long':
            self.chunk(s, cookie, DATA, at + data + b'x' * 512, DONE)
        elif mode == 'short':
            self.chunk(s, cookie, DATA, at + data[:len(data) // 2], DONE)
        elif mode == 'overlap':  # bytes enough, and the last ones missing
            half = len(data) // 2
            self.chunk(s, cookie, DATA, at + data[:half])
            self.chunk(s, cookie, DATA, at + data[:len(data) - half], DONE)
        elif mode == 'before':
            self.chunk(s, cookie, DATA, struct.pack('>Q', max(0, offset - 512)) + data, DONE)
        elif mode == 'behind':
            self.chunk(s, cookie, DATA, struct.pack('>Q', offset + 512) + data, DONE)
        elif mode == 'empty':
            self.chunk(s, cookie, NONE, b'', DONE)
        elif mode == 'empty-data':
            self.chunk(s, cookie, DATA, at, DONE)
        elif mode == 'hole-too-long':
            self.chunk(s, cookie, HOLE, at + struct.pack('>I', 0xffffffff), DONE)
        elif mode == 'wrong-cookie':
            self.chunk(s, cookie ^ 0x5555, DATA, at + data, DONE)
        elif mode == 'huge-payload':
            self.chunk(s, cookie, DATA, at + data, DONE, 0xffffffff)
        elif mode == 'bad-reply':
            s.sendall(b'\xa5' * 64)
        elif mode == 'endless':
            while True:
                self.chunk(s, cookie, NONE)
        elif mode in ('pieces', 'crumbs'):  # from the ends to the middle; of crumbs each second one comes last
            n = 8 if mode == 'pieces' else 64
            cuts = [len(data) * k // n for k in range(n + 1)]
            order = sorted(range(n), key=(lambda k: min(k, n - k)) if mode == 'pieces' else (lambda k: k & 1))
            for k in order:
                if cuts[k] < cuts[k + 1]:
                    self.chunk(s, cookie, DATA, struct.pack('>Q', offset + cuts[k]) + data[cuts[k]:cuts[k + 1]])
            self.chunk(s, cookie, NONE, b'', DONE)
        elif mode == 'trickle':  # never silent for long
            reply = at + data
            s.sendall(struct.pack('>IHHQI', 0x668e33ef, DONE, DATA, cookie, len(reply)))
            for n in range(12):
                time.sleep(0.25)
                s.sendall(reply[len(reply) * n // 12:len(reply) * (n + 1) // 12])
        elif mode == 'endless-data':
            while True:
                self.chunk(s, cookie, DATA, at + data)
        elif mode == 'twice':
            self.answer_well(s, cookie, offset, length)
            self.answer_well(s, cookie, offset, length)
        else:
            self.answer_well(s, cookie, offset, length)

    # ---- extents ----

    def extents_of(self, name, offset, length):
        """Pairs of length and flags from @offset on."""
        out, at = [], offset
        for start, end, flags in self.extents.get(name, [(0, self.size(), 0)]):
            if end > at and at < offset + length:
                out.append((min(end, offset + length) - at, flags))
                at = min(end, offset + length)
        return out

    def answer_status(self, s, cookie, offset, length):
        mode = self.mode
        if mode == 'status-error':
            return self.chunk(s, cookie, ERROR, struct.pack('>IH', EIO, 0), DONE)
        if mode == 'status-silent':
            return None
        if mode == 'status-empty-reply':
            return self.chunk(s, cookie, NONE, b'', DONE)
        while mode == 'status-endless':
            self.chunk(s, cookie, BLOCK_STATUS, struct.pack('>III', 1, 512, 0))
        for number, name in enumerate(self.contexts):
            pairs = {'status-zero': [(0, 0)], 'status-none': [], 'status-long': [(0xffffffff, 1)] * 3,
                     'status-crumbs': [(1, i & 1) for i in range(100000)]}.get(mode)
            if mode == 'status-sectors':  # each second one is zeros
                pairs = [(512, at & 1) for at in range(offset // 512, min(offset + length, self.length) // 512)][:65536]
            if pairs is None:
                pairs = self.extents_of(name, offset, length)
            pairs = pairs[:1] if mode in ('status-one', 'large-blocks') else pairs
            number = 77 if mode == 'status-wrong-id' else number + 1
            self.chunk(s, cookie, BLOCK_STATUS, struct.pack('>I', number) +
                       b''.join(struct.pack('>II', *p) for p in pairs))
        return self.chunk(s, cookie, NONE, b'', DONE)
