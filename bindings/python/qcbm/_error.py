"""Exceptions: one for each code of the library, all of them qcbm.Error

SPDX-License-Identifier: MIT
"""
from typing import Any, Dict, Optional, Type

from ._abi import ffi
from ._types import NO_OFFSET, Code


class Error(Exception):
    """A call failed. @code: qcbm.Code; @errno: of the system, or 0; @offset: where the bad bytes lie in the image file,
    or None; @message: one line; @call: the function of the library."""

    def __init__(self, code: Code, message: str, errno: int = 0, offset: Optional[int] = None, call: str = '') -> None:
        super().__init__(message)
        self.code, self.message, self.errno, self.offset, self.call = code, message, errno, offset, call


class IOFailed(Error, OSError):
    """QCBM_E_IO: also an OSError, for those who catch that."""

    def __init__(self, code: Code, message: str, errno: int = 0, offset: Optional[int] = None, call: str = '') -> None:
        Error.__init__(self, code, message, errno, offset, call)


class NoMemory(Error, MemoryError):
    """QCBM_E_NOMEM"""


class BadArgument(Error, ValueError):
    """QCBM_E_ARG"""


class NotQcow2(Error):
    """QCBM_E_NOT_QCOW2"""


class Unsupported(Error):
    """QCBM_E_UNSUPPORTED"""


class Corrupt(Error):
    """QCBM_E_CORRUPT"""


class LimitExceeded(Error):
    """QCBM_E_LIMIT"""


class Locked(Error):
    """QCBM_E_LOCKED"""


class NotFound(Error, LookupError):
    """QCBM_E_NOTFOUND"""


class Exists(Error):
    """QCBM_E_EXISTS"""


class InUse(Error):
    """QCBM_E_INUSE"""


class NoSpace(Error):
    """QCBM_E_NOSPACE"""


class Unsafe(Error):
    """QCBM_E_UNSAFE"""


class ReadOnly(Error):
    """QCBM_E_READONLY"""


class BrokenChain(Error):
    """QCBM_E_CHAIN"""


class Aborted(Error):
    """QCBM_E_ABORTED"""


class NoLocks(Error):
    """QCBM_E_NOLOCKS"""


KINDS: Dict[Code, Type[Error]] = {
    Code.E_IO: IOFailed, Code.E_NOMEM: NoMemory, Code.E_ARG: BadArgument, Code.E_NOT_QCOW2: NotQcow2,
    Code.E_UNSUPPORTED: Unsupported, Code.E_CORRUPT: Corrupt, Code.E_LIMIT: LimitExceeded, Code.E_LOCKED: Locked,
    Code.E_NOTFOUND: NotFound, Code.E_EXISTS: Exists, Code.E_INUSE: InUse, Code.E_NOSPACE: NoSpace,
    Code.E_UNSAFE: Unsafe, Code.E_READONLY: ReadOnly, Code.E_CHAIN: BrokenChain, Code.E_ABORTED: Aborted,
    Code.E_NOLOCKS: NoLocks,
}


def error_of(call: str, code: int, err: Any) -> Error:
    """From what a call returned, and its error object, which calls that take none do not have."""
    known = Code(code) if code in Code._value2member_map_ else Code.E_ARG
    if err is None:
        return KINDS[known](known, f'{call}(): {known.name}', 0, None, call)
    message = ffi.string(err.message).decode('utf-8', 'backslashreplace')
    return KINDS[known](known, message, err.sys_errno, None if err.offset == NO_OFFSET else err.offset, call)
