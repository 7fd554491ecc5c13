"""Storage of one's own: images that lie in memory, or behind any Python object that reads and writes

SPDX-License-Identifier: MIT
"""
from typing import Any, Callable, List, Optional, Protocol, TypeVar, Union

from . import _types as t
from ._abi import ffi
from ._backend import Backend
from ._call import Handle, OpenStorage, call, lib, maybe
from .image import Chain, Dump, Image, Manifest, Path


class Storage(Protocol):
    """What an object has to have at least. It may also have write_at(offset, data), flush(), grow(length) and
    cut(length), without which it is read alone; lock(mode), which raises qcbm.Locked; close()."""

    def read_at(self, offset: int, length: int) -> bytes: ...

    def size(self) -> int: ...


AnyStorage = Union[Storage, OpenStorage]  # the latter is not closed with what reads it: a server, see nbd.py
_Reader = TypeVar('_Reader', bound=Handle)


def _open(make: Callable[[Any], _Reader], name: str, storage: AnyStorage, *given: Any) -> _Reader:
    """What function @name opens of @storage, and keeps it."""
    if isinstance(storage, OpenStorage):
        reader = make(call(name, storage.ops, storage, *given))
        storage.lend(reader)
    else:
        backend = Backend(storage)
        reader = make(call(name, backend.ops, ffi.NULL, *given))
        reader._keep['storage'] = [backend]
    return reader


def open_storage(storage: AnyStorage, flags: int = 0) -> Image:
    """An image behind @storage, which is closed with it."""
    return _open(Image._of, 'qcbm_open_io', storage, flags)


def open_raw_storage(storage: AnyStorage, name: Optional[Path] = None, flags: int = 0) -> Chain:
    """A disk of the bytes of @storage as they are, which is closed with it; @name is what the layer is called."""
    return _open(Chain, 'qcbm_chain_open_raw_io', storage, maybe(name), flags)


def probe_storage(storage: AnyStorage, name: Optional[Path] = None) -> str:
    """As probe(), of what stays open; @name may tell by how it ends."""
    if isinstance(storage, OpenStorage):
        return str(call('qcbm_probe_io', storage.ops, storage, maybe(name)))
    backend = Backend(storage, stays=True)
    return str(call('qcbm_probe_io', backend.ops, ffi.NULL, maybe(name)))


def dump_storage(storage: AnyStorage, flags: int = 0) -> Dump:
    return _open(Dump, 'qcbm_dump_open_io', storage, flags)


def manifest_in_storage(storage: AnyStorage) -> Manifest:
    return _open(Manifest, 'qcbm_manifest_open_io', storage)


def edit_fields_in_storage(storage: Storage, edits: List[str], flags: int = t.OpenFlag.WRITE,
                           **options: Any) -> t.EditFieldsResult:
    backend = Backend(storage)
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


__all__ = ['AnyStorage', 'Memory', 'Storage', 'dump_storage', 'edit_fields_in_storage', 'manifest_in_storage', 'open_raw_storage',
           'open_storage', 'probe_storage']
