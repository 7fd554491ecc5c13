"""qcow2 images and their dirty bitmaps, offline: libqcbm for Python

SPDX-License-Identifier: MIT

    with qcbm.Image('overlay.qcow2', qcbm.OpenFlag.WRITE) as image:
        image.synth('b0')
        for extent in image.extents('b0'):
            ...

help(qcbm.Image) has what can be done with an image; qcbm.Edit changes its bitmaps, qcbm.Extents, qcbm.Chain and
qcbm.Manifest are read, qcbm.Error is what they raise. qcbm.apply(), merge_deltas(), create_checkpoint(), rescue() and others
are about several files.

The headers of the library say what each call does, as man libqcbm-synth and its like do; the names here are theirs. Fields of options structs are keyword
arguments, callbacks are functions that stop the call by raising, errors are exceptions. What has no method is reached
by qcbm.call(), which knows all functions of the headers, or, bare, by qcbm.lib, qcbm.nbd_lib() and qcbm.ffi.
"""
from ._abi import ffi
from ._call import call, lib, nbd_lib
from ._error import *  # noqa: F401,F403
from ._types import *  # noqa: F401,F403
from .image import *  # noqa: F401,F403
from .machine import *  # noqa: F401,F403
from .nbd import *  # noqa: F401,F403
from .storage import *  # noqa: F401,F403

__version__ = version()  # noqa: F405
