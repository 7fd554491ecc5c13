#!/usr/bin/env python3
# repair.py - qcbm check -r with the real programs as witnesses: QEMU opens what it had refused, its own check finds nothing,
# what can be kept is there, and an undo gives the identical file back
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool.

import qtool
from qtool import MiB, require, require_equal


def sound(work):
    """Nothing is done where nothing is wrong."""
    work.create('a.qcow2', 4 * MiB)
    work.io('a.qcow2', 'write -q -P 2 0 1M')
    work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b0')
    before = qtool.digest(work.path('a.qcow2'))
    for level in 'leaks', 'all', 'bitmaps':
        done = work.qcbm('check', '-r', level, 'a.qcow2')
        require('repair' not in done.out + done.err, done.out + done.err)
    require_equal(qtool.digest(work.path('a.qcow2')), before, 'digest')


def cases():
    return [(sound, 'a sound image', {})]


def main():
    args = qtool.arguments(__doc__ or 'repairs of qcbm check -r')
    qtool.need_tools('qemu-img', 'qemu-io')
    qtool.run_cases(args, cases())


if __name__ == '__main__':
    main()
