"""Images and disks behind NBD servers, by libqcbm-nbd, which is loaded when the first of them is opened

SPDX-License-Identifier: MIT

ImportError where it is not there. URIs are for people to choose: never hand on one that comes from an image.
"""
from typing import Any, Callable, List, Tuple

from . import _types as t  # noqa: F401: in a type
from ._call import OpenStorage, call, nbd_lib
from .image import Chain, Image
from .storage import open_raw_storage, open_storage

Range = Tuple[int, int, int]  # offset, length, flags


class Nbd(OpenStorage):
    """A connection: Nbd(uri), Nbd(uri, context='qemu:dirty-bitmap:b0'); see struct qcbm_nbd_options.

    It goes wherever storage of one's own goes: open_storage(), open_raw_storage(), dump_storage(), probe_storage(),
    Image.set_below(), refine_ops of a synthesis. It stays open when those end, and closes them when it is closed."""
    _close = 'qcbm_nbd_close'

    def __init__(self, uri: str, **options: Any) -> None:
        self.uri = uri
        super().__init__(call('qcbm_nbd_open', uri, **options))
        call('qcbm_nbd_keep', self)

    @property
    def ops(self) -> Any:
        return nbd_lib().qcbm_nbd_ops()

    def open(self, flags: int = 0) -> Image:
        """The image that the server has the file of. No lock reaches it: qcbm.OpenFlag.NO_LOCK has to be said."""
        image = open_storage(self, flags)
        image.set_name(self.uri)
        return image

    def open_raw(self, flags: int = 0) -> Chain:
        """The disk that the server has the bytes of, with NO_LOCK as well."""
        return open_raw_storage(self, self.uri, flags)

    @property
    def size(self) -> int:
        """Bytes of the export."""
        return int(call('qcbm_nbd_size', self))

    @property
    def figures(self) -> 't.NbdFigures':
        """What went over the connection so far."""
        result: 't.NbdFigures' = call('qcbm_nbd_get_figures', self)
        return result

    def has_context(self, context: str) -> bool:
        """Only of qcbm.NBD_ALLOCATION and the one of the options."""
        return bool(call('qcbm_nbd_has_context', self, context))

    def extents(self, context: str) -> List[Range]:
        """What @context says of the disk, without gaps: offset, length and flags."""
        found: List[Range] = []
        self.extents_into(context, lambda offset, length, flags: found.append((offset, length, flags)))
        return found

    def extents_into(self, context: str, fn: Callable[[int, int, int], Any]) -> None:
        """The same to @fn, as it comes."""
        call('qcbm_nbd_extents', self, context, fn)


def open_nbd(uri: str, flags: int = 0, **options: Any) -> Image:
    """The image that the server at @uri has the file of. The connection is closed with it. No lock reaches a server:
    qcbm.OpenFlag.NO_LOCK has to be said."""
    server = Nbd(uri, **options)
    try:
        image = server.open(flags)
    except BaseException:
        server.close()
        raise
    image._keep['owned'] = [server]
    return image


__all__ = ['Nbd', 'open_nbd']
