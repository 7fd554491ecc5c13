#!/usr/bin/env python3
# older.py - what qcbm prints in the layout of QEMU 10.0, as the qemu-img on PATH prints it
#
# SPDX-License-Identifier: MIT
#
# Compared with QEMU 10.0 nothing is changed. QEMU 7.2 does not know some of it: exactly that is taken away, after it
# has been compared with the file itself, or with the other members.
#
# usage: older.py info|map|snapshot [json] <OUTPUT OF QCBM, in the folder where it was printed

import functools
import json
import os
import re
import stat
import subprocess
import sys

from qtool import require, require_equal

CHILD = re.compile(r"^Child node '/file':\n((?:    .*\n)*)", re.M)
TOP = re.compile(r'^image: (.*)\nfile format: .*\nvirtual size: .*\ndisk size: (.*)\n', re.M)
NOT_DETACHED = re.compile(r'^(        ivgen alg: .*\n)        detached header: false\n', re.M)
HEAD = 'ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT\n'
OLD_HEAD = 'ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n'
ROW = re.compile(r'(.{7,}?) (.* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d) +(\d+)(:\d\d:\d\d\.\d{3}) +(\d+|--)\n')
TABLE = re.compile('^' + HEAD + '((?:%s)+)' % ROW.pattern.replace('(', '(?:'), re.M)


@functools.lru_cache(maxsize=None)
def knows_all():
    """Is the qemu-img on PATH of 10.0 or later? In between 7.2 and 10.0 nothing was tried."""
    text = subprocess.run(['qemu-img', '--version'], check=True, capture_output=True, text=True).stdout
    return int(re.search(r'version (\d+)', text).group(1)) >= 10


def file_below(filename):
    """(kind, length in whole sectors, bytes allocated)"""
    st = os.stat(filename)
    return 'host_device' if stat.S_ISBLK(st.st_mode) else 'file', -(-st.st_size // 512) * 512, st.st_blocks * 512


def child_text(printed, folder):
    """The block on the file says what the lines on the image, and the file, say."""
    tops, blocks = TOP.findall(printed), CHILD.findall(printed)
    require_equal(len(blocks), len(tops), 'blocks on files')
    for (name, disk), block in zip(tops, blocks):
        kind, length, _ = file_below(os.path.join(folder, name))
        rule = ('    filename: %s\n    protocol type: %s\n    file length: [^\n]* \\(%d bytes\\)\n    disk size: %s\n'
                '(    Format specific information:\n        extent size hint: [1-9][0-9]*\n)?'
                % (re.escape(name), kind, length, re.escape(disk)))
        require(re.fullmatch(rule, block), 'the file below %s:\n%s' % (name, block))
    return CHILD.sub('', printed)


def old_row(match):
    """Three columns have other widths and words. What stands between them is the same."""
    number, middle, hours, rest, icount = match.groups()
    clock, old_clock = '%04d%s' % (int(hours), rest), '%02d%s' % (int(hours), rest)
    require_equal(match.group(), '%s %s %15s %10s\n' % (number, middle, clock, icount), 'snapshot')
    return '%-9s %s%13s%11s\n' % (number.rstrip(), middle, old_clock, icount.strip('-'))


def text(command, printed, folder='.'):
    """What the qemu-img on PATH would print, run in @folder."""
    if knows_all():
        return printed
    if command == 'info':
        luks = printed.count('        ivgen alg: ')
        printed, taken = NOT_DETACHED.subn(r'\1', printed)
        require_equal(taken, luks, 'LUKS headers that are not detached')
        printed = child_text(printed, folder)
    if command in ('info', 'snapshot'):
        printed = TABLE.sub(lambda table: OLD_HEAD + ROW.sub(old_row, table.group(1)), printed)
    return printed


def old_info(image, folder):
    kind, length, disk = file_below(os.path.join(folder, image['filename']))
    below = {'children': [], 'virtual-size': length, 'filename': image['filename'], 'format': kind, 'actual-size': disk,
             'format-specific': {'type': 'file', 'data': {}}, 'dirty-flag': False}
    children = image.pop('children')
    children[0]['info']['format-specific']['data'].pop('extent-size-hint', None)  # XFS
    require_equal(children, [{'name': 'file', 'info': below}], 'children')
    luks = image.get('format-specific', {}).get('data', {}).get('encrypt', {})
    if 'ivgen-alg' in luks:
        require_equal(luks.pop('detached-header', None), False, 'detached-header')
    return image


def old_map(runs, encrypted):
    """Runs that differ in nothing but being compressed are one run. Only encryption makes such neighbours."""
    out = []
    for run in runs:
        compressed, no_place = run.pop('compressed'), run['data'] and 'offset' not in run
        require(no_place if compressed else encrypted or not no_place, 'compressed: %r, %r' % (compressed, run))
        last = out[-1] if out else {}
        if no_place and encrypted and dict(last, start=0, length=0) == dict(run, start=0, length=0):
            last['length'] += run['length']
        else:
            out.append(run)
    return out


def value(command, printed, folder='.', encrypted=False):
    """The same for JSON: the value."""
    parsed = json.loads(printed)
    if not knows_all() and command == 'info':
        return [old_info(one, folder) for one in parsed] if isinstance(parsed, list) else old_info(parsed, folder)
    return old_map(parsed, encrypted) if not knows_all() and command == 'map' else parsed


def main():
    command, printed = sys.argv[1], sys.stdin.read()
    if sys.argv[2:] == ['json']:
        print(json.dumps(value(command, printed)))
    else:
        sys.stdout.write(text(command, printed))


if __name__ == '__main__':
    main()
