"""Storage of one's own as the library sees it: a Python object behind struct qcbm_io_ops

SPDX-License-Identifier: MIT
"""
import threading
from typing import Any, Dict, List

from . import _types as t
from ._abi import ffi
from ._error import Error

# What an object that is storage has raised below the call of this thread.
in_storage = threading.local()


class Backend:
    """A Python object as struct qcbm_io_ops. What it raises is the message and the cause of an error. With @stays the
    library does not close it, and who made this keeps it."""
    _living: Dict[int, 'Backend'] = {}  # until the library calls ->close()

    def __init__(self, storage: Any, stays: bool = False) -> None:
        self.storage = storage
        self.keep: List[Any] = []
        self.ops = ffi.new('struct qcbm_io_ops *')
        self.ops.struct_size = ffi.sizeof(self.ops[0])
        for name in ('read_at', 'size', 'close'):
            self._offer(name)
        for name in ('write_at', 'flush', 'grow', 'cut', 'lock'):
            if hasattr(storage, name):
                self._offer(name)
        if not stays:
            self._living[id(self)] = self

    def _offer(self, name: str) -> None:
        ctype = dict(ffi.typeof(self.ops[0]).fields)[name].type
        run = getattr(self, '_' + name)

        def guarded(_self: Any, *args: Any) -> int:
            try:
                run(*args)
                return 0
            except BaseException as e:  # the cause of the error, see Call.finish() in _call.py
                in_storage.raised = e
                return self._fail(e, args[-1])

        if name == 'close':
            self.keep.append(ffi.callback(ctype, lambda _self: self._close()))
        else:
            self.keep.append(ffi.callback(ctype, guarded, error=int(t.Code.E_IO)))
        setattr(self.ops, name, self.keep[-1])

    @staticmethod
    def _fail(e: BaseException, err: Any) -> int:
        code = int(e.code) if isinstance(e, Error) else int(t.Code.E_IO)
        if err != ffi.NULL:
            text = f'{type(e).__name__}: {e}'.encode('utf-8', 'replace')[:511].replace(b'\n', b' ')
            err.code, err.sys_errno, err.offset = code, getattr(e, 'errno', 0) or 0, t.NO_OFFSET
            ffi.memmove(err.message, text + b'\0', len(text) + 1)
        return code

    def _read_at(self, offset: int, buffer: Any, length: int, _err: Any) -> None:
        data = self.storage.read_at(offset, length)
        if len(data) != length:
            raise EOFError(f'{len(data)} of {length} bytes at {offset}')
        ffi.memmove(buffer, data, length)

    def _size(self, out: Any, _err: Any) -> None:
        out[0] = self.storage.size()

    def _write_at(self, offset: int, data: Any, length: int, _err: Any) -> None:
        self.storage.write_at(offset, bytes(ffi.buffer(data, length)))

    def _flush(self, _err: Any) -> None:
        self.storage.flush()

    def _grow(self, length: int, _err: Any) -> None:
        self.storage.grow(length)

    def _cut(self, length: int, _err: Any) -> None:
        self.storage.cut(length)

    def _lock(self, mode: int, _err: Any) -> None:
        self.storage.lock(t.LockMode(mode))

    def _close(self) -> None:
        self._living.pop(id(self), None)
        if hasattr(self.storage, 'close'):
            self.storage.close()
