"""Storage of one's own: images that lie in memory, or behind any Python object that reads and writes

SPDX-License-Identifier: MIT
"""
from typing import Any, Dict, List, Optional, Protocol

from . import _types as t
from ._abi import ffi
from ._call import call, in_storage, lib
from ._error import Error
from .image import Dump, Image, Manifest


class Storage(Protocol):
    """What an object has to have at least. It may also have write_at(offset, data), flush(), grow(length) and
    cut(length), without which it is read alone; lock(mode), which raises qcbm.Locked; close()."""

    def read_at(self, offset: int, length: int) -> bytes: ...

    def size(self) -> int: ...


class _Backend:
    """A Python object as struct qcbm_io_ops. What it raises is the message and the cause of an error."""
    _living: Dict[int, '_Backend'] = {}  # until the library calls ->close()

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self.keep: List[Any] = []
        self.ops = ffi.new('struct qcbm_io_ops *')
        self.ops.struct_size = ffi.sizeof(self.ops[0])
        for name in ('read_at', 'size', 'close'):
            self._offer(name)
        for name in ('write_at', 'flush', 'grow', 'cut', 'lock'):
            if hasattr(storage, name):
                self._offer(name)
        self._living[id(self)] = self

    def _offer(self, name: str) -> None:
        ctype = dict(ffi.typeof(self.ops[0]).fields)[name].type
        run = getattr(self, '_' + name)

        def guarded(_self: Any, *args: Any) -> int:
            try:
                run(*args)
                return 0
            except BaseException as e:  # the cause of the error, see Call.finish()
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


def open_storage(storage: Storage, flags: int = 0) -> Image:
    """An image behind @storage, which is closed with it."""
    backend = _Backend(storage)
    image = Image._of(call('qcbm_open_io', backend.ops, ffi.NULL, flags))
    image._keep['storage'] = [backend]
    return image


def dump_storage(storage: Storage, flags: int = 0) -> Dump:
    backend = _Backend(storage)
    dump = Dump(call('qcbm_dump_open_io', backend.ops, ffi.NULL, flags))
    dump._keep['storage'] = [backend]
    return dump


def manifest_in_storage(storage: Storage) -> Manifest:
    backend = _Backend(storage)
    manifest = Manifest(call('qcbm_manifest_open_io', backend.ops, ffi.NULL))
    manifest._keep['storage'] = [backend]
    return manifest


def edit_fields_in_storage(storage: Storage, edits: List[str], flags: int = t.OpenFlag.WRITE,
                           **options: Any) -> t.EditFieldsResult:
    backend = _Backend(storage)
    result: t.EditFieldsResult = call('qcbm_edit_fields_io', backend.ops, ffi.NULL, flags, edits, **options)
    return result


class Memory:
    """An image in memory, which stays when the images opened of it are closed."""

    def __init__(self, data: bytes) -> None:
        self._pointer = ffi.gc(call('qcbm_mem_new', data), lib.qcbm_mem_free)
        lib.qcbm_mem_keep(self._pointer)

    def open(self, flags: int = 0) -> Image:
        image = Image._of(call('qcbm_open_io', lib.qcbm_mem_ops(), self._pointer, flags))
        image._keep['storage'] = [self]
        return image

    @property
    def data(self) -> bytes:
        length = ffi.new('size_t *')
        pointer = lib.qcbm_mem_data(self._pointer, length)
        return bytes(ffi.buffer(pointer, length[0]))


__all__ = ['Memory', 'Storage', 'dump_storage', 'edit_fields_in_storage', 'manifest_in_storage', 'open_storage']
