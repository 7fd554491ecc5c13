"""Storage of one's own: images that lie in memory, or behind any Python object that reads and writes

SPDX-License-Identifier: MIT
"""
from typing import Any, List, Optional, Protocol

from . import _types as t
from ._abi import ffi
from ._backend import Backend
from ._call import call, lib, maybe
from .image import Chain, Dump, Image, Manifest, Path


class Storage(Protocol):
    """What an object has to have at least. It may also have write_at(offset, data), flush(), grow(length) and
    cut(length), without which it is read alone; lock(mode), which raises qcbm.Locked; close()."""

    def read_at(self, offset: int, length: int) -> bytes: ...

    def size(self) -> int: ...


def open_storage(storage: Storage, flags: int = 0) -> Image:
    """An image behind @storage, which is closed with it."""
    backend = Backend(storage)
    image = Image._of(call('qcbm_open_io', backend.ops, ffi.NULL, flags))
    image._keep['storage'] = [backend]
    return image


def open_raw_storage(storage: Storage, name: Optional[Path] = None, flags: int = 0) -> Chain:
    """A disk of the bytes of @storage as they are, which is closed with it; @name is what the layer is called."""
    backend = Backend(storage)
    chain = Chain(call('qcbm_chain_open_raw_io', backend.ops, ffi.NULL, maybe(name), flags))
    chain._keep['storage'] = [backend]
    return chain


def probe_storage(storage: Storage, name: Optional[Path] = None) -> str:
    """As probe(), of what stays open; @name may tell by how it ends."""
    backend = Backend(storage, stays=True)
    return str(call('qcbm_probe_io', backend.ops, ffi.NULL, maybe(name)))


def dump_storage(storage: Storage, flags: int = 0) -> Dump:
    backend = Backend(storage)
    dump = Dump(call('qcbm_dump_open_io', backend.ops, ffi.NULL, flags))
    dump._keep['storage'] = [backend]
    return dump


def manifest_in_storage(storage: Storage) -> Manifest:
    backend = Backend(storage)
    manifest = Manifest(call('qcbm_manifest_open_io', backend.ops, ffi.NULL))
    manifest._keep['storage'] = [backend]
    return manifest


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


__all__ = ['Memory', 'Storage', 'dump_storage', 'edit_fields_in_storage', 'manifest_in_storage', 'open_raw_storage',
           'open_storage', 'probe_storage']
