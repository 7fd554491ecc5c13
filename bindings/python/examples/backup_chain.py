#!/usr/bin/env python3
"""backup_chain.py IMAGE BITMAP COPY - keep the raw file COPY equal to the disk of IMAGE, with all layers below it

SPDX-License-Identifier: MIT

The first time, without COPY, all that is not zeros is copied, and IMAGE gets the bitmap. Then only what it says is
dirty: a granule that reads as zeros becomes a hole, the others are read and written. The bitmap is cleared when COPY is
durable, and not before: whatever cuts it short, the next run copies that again.
"""
import contextlib
import os
import sys

import qcbm

PIECE = 1 << 20


def copy(image, out, offset, length):
    while length > 0:
        piece = image.read(offset, min(length, PIECE), qcbm.ReadFlag.DATA_FILE)
        os.pwrite(out, piece, offset)
        offset, length = offset + len(piece), length - len(piece)


def punch(out, offset, length):
    """Zeros. A program of yours may have fallocate(2); this one writes them where something else is."""
    while length > 0:
        there = os.pread(out, min(length, PIECE), offset)
        if any(there):
            os.pwrite(out, bytes(len(there)), offset)
        step = min(length, PIECE)
        offset, length = offset + step, length - step


def whole(image, out):
    for run in image.map():
        if run.data and not run.zero:
            copy(image, out, run.start, run.length)
            yield run.length


def changes(image, bitmap, out):
    with image.extents(bitmap, flags=qcbm.ExtentsFlag.ZERO) as extents:
        for offset, length, zero in extents.dirty():
            (punch(out, offset, length) if zero else copy(image, out, offset, length))
            yield length


def backup(path, bitmap, target):
    """Returns how many bytes were copied."""
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(qcbm.Image(path, qcbm.OpenFlag.WRITE))
        first = not os.path.exists(target)
        part = target + '.part' if first else target
        out = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, out)
        os.ftruncate(out, image.info.virtual_size)
        copied = sum(whole(image, out) if first else changes(image, bitmap, out))
        os.fsync(out)
        with image.edit() as edit:
            if first:
                edit.add(bitmap)
            else:
                edit.clear(bitmap)
        if first:
            os.rename(part, target)
        return copied


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        print(backup(*sys.argv[1:]), 'bytes copied')
    except qcbm.Error as e:
        sys.exit(f'backup_chain.py: {sys.argv[1]}: {e}')
