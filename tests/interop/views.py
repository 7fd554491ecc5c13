#!/usr/bin/env python3
# views.py - map, snapshot -l, measure, check and info --backing-chain print what qemu-img prints, with its exit codes
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. Needs qemu-img and qemu-io. Text is compared line for line, JSON field for field;
# where qemu-img fails, qcbm must fail with the same code.

import difflib
import json
import os
import random
import struct
import subprocess
import sys

import older
from check import OWN_FIELDS, said_of_leaks
import qtool

QCBM = os.path.abspath(os.environ['QCBM'])
SECRET = ['--object', 'secret,id=s,data=interop']
TIME_LIMIT = 60  # seconds, against a tool that hangs
faults = []
VIEWS = ('map', 'measure', 'chain', 'snapshot')
compared = 0
images = 0


def run(*command):
    return qtool.run_patiently(command, timeout=TIME_LIMIT)


def create(name, *arguments, size='10M', options=''):
    return qtool.here().create_image([*(('-o', options) if options else ()), *arguments], name, size)


def io(name, *commands):
    qtool.here().io(name, *commands)


def poke(name, offset, data):
    with open(name, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def peek(name, offset, length):
    with open(name, 'rb') as f:
        f.seek(offset)
        return f.read(length).ljust(length, b'\0')


def word(name, offset):
    return struct.unpack('>Q', peek(name, offset, 8))[0]


def l2_place(name, index):
    """Where entry @index of the first L2 table lies (8-byte entries)."""
    return (word(name, word(name, 40)) & 0x00fffffffffffe00) + 8 * index


def output(tool, command, arguments):
    done = subprocess.run([tool, command, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=TIME_LIMIT, env=dict(os.environ, TZ='UTC'))
    if done.returncode < 0 or b'Sanitizer' in done.stderr or b'runtime error:' in done.stderr:
        faults.append('%s %s %r: died\n%s' % (tool, command, arguments, done.stderr.decode(errors='replace')))
    return done.returncode, done.stdout.decode(errors='backslashreplace'), done.stderr.decode(errors='replace')


def compare_output(label, command, is_json, theirs, ours):
    if is_json:
        if json.loads(theirs) != older.value(command, ours):
            faults.append('%s\n  qemu-img %s\n  qcbm     %s' % (label, theirs[:2000], ours[:2000]))
        return
    ours = older.text(command, ours)
    if theirs != ours:
        faults.append('%s\n%s' % (label, '\n'.join(difflib.unified_diff(
            theirs.splitlines(), ours.splitlines(), 'qemu-img', 'qcbm', lineterm=''))))


def compare(what, command, *arguments):
    """The text, or the JSON, of one command line."""
    global compared
    compared += 1
    (their_code, theirs, their_error), (our_code, ours, our_error) = (
        output(tool, command, arguments) for tool in ('qemu-img', QCBM))
    label = '%s: %s %s' % (what, command, ' '.join(arguments))
    if their_code != our_code:
        faults.append('%s: exit code %d, of qemu-img %d\n  %s  %s' % (label, our_code, their_code, our_error,
                                                                      their_error))
    elif their_code != 0:
        if ours:
            faults.append('%s: output on failure' % label)
    else:
        try:
            compare_output(label, command, '--output=json' in arguments, theirs, ours)
        except qtool.Failure as fault:
            faults.append('%s\n%s' % (label, fault))


def both(what, command, *arguments):
    compare(what, command, *arguments)
    compare(what, command, '--output=json', *arguments)


def one(what, command, *arguments):
    """The text or the JSON, of one of many images."""
    form = qtool.one_form(images, what, command)
    compare(what, command, *([form] if form else []), *arguments)


def check(what, name):
    """The totals, which are printed with exit codes 2 and 3 as well. Messages: check.py."""
    global compared
    compared += 1
    form = qtool.one_form(images, what)
    (their_code, theirs, _), (our_code, ours, error) = (
        output(tool, 'check', [form, name] if form else [name]) for tool in ('qemu-img', QCBM))
    if form and ours and theirs:
        theirs, ours = json.loads(theirs), json.loads(ours)
        ours = {key: value for key, value in ours.items() if key not in OWN_FIELDS}
    elif not form:
        theirs = said_of_leaks(theirs, ours, error)
    if (their_code, theirs) != (our_code, ours):
        faults.append('%s: check\n  qemu-img %d %s\n  qcbm     %d %s\n  %s' % (what, their_code, theirs, our_code,
                                                                           ours, error))


def same(what, name, *commands):
    """All of it, of one image: each command in one of its forms."""
    global images
    images += 1
    if images % qtool.test_part():
        return
    for command in commands or VIEWS:
        if command == 'map':
            one(what, 'map', '-f', 'qcow2', name)
        elif command == 'measure':
            one(what, 'measure', *(('-f', 'qcow2', '-O', 'qcow2') if images % 2 else ()), name)
        elif command == 'chain':
            one(what, 'info', '--backing-chain', name)
        elif command == 'snapshot' and (images % 3 == 0 or what.startswith('snapshot')):
            compare(what, 'snapshot', '-l', name)
    check(what, name)


def fill(name, size, rng, unit):
    """Data, compressed data, zeros and discards at random places."""
    commands = []
    for _ in range(12):
        start = rng.randrange(0, size // unit) * unit
        length = min(rng.choice([unit, 2 * unit, 512, 64 * 1024]), size - start) // 512 * 512
        if length:
            commands.append('%s %d %d' % (rng.choice(['write', 'write', 'write -z', 'write -zu', 'discard']), start, length))
    io(name, *commands)


# ---- the images ----------------------------------------------------------------------------------------------------

def shapes():
    rng = random.Random(7)
    options = ['cluster_size=%d' % (1 << bits) for bits in (9, 12, 16, 21)]
    options += ['extended_l2=on,cluster_size=%d' % (1 << bits) for bits in (14, 16, 21)]
    options += ['compat=0.10', 'refcount_bits=1', 'refcount_bits=4', 'refcount_bits=64', 'compression_type=zstd']
    for option in options:
        bits = option.partition('cluster_size=')[2]
        unit = int(bits) if bits else 65536
        for size in ('0', '512', '3M', '5243392'):
            name = create('shape.qcow2', size=size, options=option)
            same('empty, ' + option, name)
            if size in ('3M', '5243392'):
                fill(name, 3 << 20, rng, unit)
                same('filled, ' + option, name)
                name = create('over.qcow2', '-b', 'shape.qcow2', '-F', 'qcow2', size='4M', options=option)
                fill(name, 4 << 20, rng, unit)
                same('overlay, ' + option, name)
    io(create('packed.qcow2'), 'write -c 0 64k', 'write 1M 64k')
    both('compressed', 'map', 'packed.qcow2')


def chains():
    rng = random.Random(11)
    for case in range(24):
        sizes = [rng.choice([1 << 20, 3 << 20, (2 << 20) + 512, 5 << 20]) for _ in range(rng.randrange(2, 5))]
        below = None
        if rng.random() < 0.4:
            with open('raw', 'wb') as f:
                f.truncate(sizes[0] + rng.choice([0, 100, 511]))
                for _ in range(4):
                    f.seek(rng.randrange(0, sizes[0] - 70000))
                    f.write(rng.randbytes(rng.choice([100, 5000, 65536])))
            below = ('raw', 'raw')
        for i, size in enumerate(sizes):
            extended = rng.random() < 0.3
            bits = rng.choice([14, 16] if extended else [9, 12, 16, 18])
            name = create('layer%d.qcow2' % i, *(['-b', below[0], '-F', below[1]] if below else []), size=str(size),
                          options='cluster_size=%d%s' % (1 << bits, ',extended_l2=on' if extended else ''))
            fill(name, size, rng, 1 << bits)
            below = (name, 'qcow2')
        same('chain %d of sizes %r' % (case, sizes), name, 'map', 'chain', 'measure')
    os.makedirs('a/b', exist_ok=True)
    create('a/base.qcow2')
    io('a/base.qcow2', 'write 1M 1M')
    create('a/b/over.qcow2', '-F', 'qcow2', '-b', '../base.qcow2')
    same('in folders', 'a/b/over.qcow2', 'map', 'chain')
    same('with a path', os.path.abspath('a/b/over.qcow2'), 'map', 'chain')


def holes():
    for preallocation in 'metadata', 'falloc', 'full':
        for option in '', ',cluster_size=4k', ',extended_l2=on':
            name = create('full.qcow2', options='preallocation=%s%s' % (preallocation, option))
            same('preallocation ' + preallocation, name)
            io(name, 'write 1M 100k', 'write 3M 4k')
            same('preallocation and data ' + preallocation, name)
    for count in range(1, 9):  # around the border of qemu's guess
        name = create('guess.qcow2')
        io(name, *['write %dk 4k' % (64 * i) for i in range(count)])
        same('%d clusters partly written' % count, name, 'map')
        io(name, *['write %dk 64k' % (64 * i + 1024) for i in range(30)])
        same('%d clusters partly, 30 wholly written' % count, name, 'map')
    # a hole punched into data
    name = create('punched.qcow2')
    io(name, 'write 0 1M')
    run('fallocate', '-p', '-o', str(0x60000), '-l', str(0x30000), name)
    same('punched', name, 'map')


def ranges():
    name = create('range.qcow2')
    io(name, 'write 1M 1M', 'write -z 4M 64k')
    for start, length in (('0', '0'), ('1M', '512'), ('1000', '1500'), ('1500k', '3M'), ('9M', '5M'), ('20M', '1'),
                          ('0x100000', '64K'), ('1.5M', '1'), ('0', '7E'), ('7E', '7E')):
        both('range', 'map', '-s', start, '-l', length, name)
        both('range', 'map', '--start-offset=' + start, '--max-length', length, name)
        both('range', 'map', '-s', start, name)
    compare('usage', 'map', '-s', 'x', name)
    compare('usage', 'map', '-l', '9E', name)
    compare('usage', 'map', '-U', name)
    compare('usage', 'map')
    compare('usage', 'map', 'missing')


def measures():
    name = create('measure.qcow2', size='1G')
    io(name, 'write 1M 1M', 'write 100M 4k')
    for arguments in ((), ('-g', '512'), ('-g', '2G', '--disable'), ('-g', '1M',)):
        run('qemu-img', 'bitmap', '--add', *arguments, name, 'b%s' % '-'.join(arguments))
        same('bitmaps', name, 'measure')
    subprocess.run(['bash', '-c', 'ulimit -c 0; exec qemu-io -c "write 0 64k" -c abort "$0"', name],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT)
    same('bitmaps in use', name, 'measure')
    run('qemu-img', 'bitmap', '--add', name, 'after')
    same('a bitmap beside those in use', name, 'measure')
    for size in ('0', '1', '512', '1000', '64k', '512M', '513M', '1G', '100G', '10T', '64T', '2P', '3P', '7E', '8E', 'x'):
        for target in 'raw', 'qcow2':
            both('size', 'measure', '--size', size, '-O', target)
    for options in ('cluster_size=512', 'cluster_size=4k', 'cluster_size=2M', 'extended_l2=on', 'compat=0.10',
                    'refcount_bits=64', 'refcount_bits=1', 'cluster_size=4k,refcount_bits=8,compat=1.1',
                    'extended_l2=on,cluster_size=16k', 'lazy_refcounts=on', 'preallocation=metadata',
                    'cluster_size=1000', 'refcount_bits=3', 'extended_l2=on,cluster_size=4k',
                    'compat=0.10,refcount_bits=8'):
        both('options', 'measure', '-O', 'qcow2', '-o', options, name)
        both('options', 'measure', '-O', 'qcow2', '-o', options, '--size', '10G')
    for usage in ((), ('a', 'b'), ('--size', '1G', name), ('-f', 'qcow2', '--size', '1G'), ('-O', 'nothing', name),
                  ('missing',), ('-q', name)):
        if usage != ('-q', name):
            compare('usage', 'measure', *usage)


def snapshots():
    name = create('snapshots.qcow2')
    for tag in ('one', 'a name that is longer than the column', 'gr\u00fc\u00df'):
        run('qemu-img', 'snapshot', '-c', tag, name)
        same('snapshots', name)
        io(name, 'write 0 1M')
    compare('-U', 'snapshot', '-U', '-l', name)
    compare('-q', 'snapshot', '-ql', name)
    compare('usage', 'snapshot', '-l')
    compare('usage', 'snapshot', '-l', name, name)


def damaged():
    """One entry of a table, wrong in every way that is known."""
    entries = (0x8000000000050100, 0x80000000000500fe, 0x3f00000000050000, 0x8000000000000000, 1, 0x8000000000050001,
               0x8000000000050201, 0x00ffffffffff0000, 0x8000000100000000, 0x4000000000050000, 0xc000000000050000,
               0x7fffffffffffffff, 0xffffffffffffffff)
    for options in '', 'compat=0.10', 'extended_l2=on', 'data_file=data.raw':
        create('sane.qcow2', size='2M', options=options)
        io('sane.qcow2', 'write 0 256k', 'write 1M 64k')
        sane = peek('sane.qcow2', 0, os.path.getsize('sane.qcow2'))
        for place, kind in ((word('sane.qcow2', 40), 'L1'), (l2_place('sane.qcow2', 0), 'L2'),
                            (l2_place('sane.qcow2', 2), 'L2')):
            for entry in entries:
                with open('bad.qcow2', 'wb') as f:
                    f.write(sane)
                poke('bad.qcow2', place, struct.pack('>Q', entry))
                if kind == 'L1' and entry in (0x8000000000050001,):
                    continue
                if options.startswith('data_file'):
                    compare('%s entry %#x, %s' % (kind, entry, options), 'map', '--output=json', 'bad.qcow2')
                else:
                    same('%s entry %#x, %s' % (kind, entry, options), 'bad.qcow2', 'map', 'chain', 'snapshot')
        for length in range(196608, len(sane), 30000):
            with open('bad.qcow2', 'wb') as f:
                f.write(sane[:length])
            if not options.startswith('data_file'):
                same('cut at %d, %s' % (length, options), 'bad.qcow2', 'map', 'chain', 'snapshot')


def encrypted():
    """qemu-img wants the key even for the map, qcbm does not: compared with what qemu-img says when it has it."""
    name = 'luks.qcow2'
    opts = 'driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=' + name
    create(name, *SECRET, options='encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10')
    run('qemu-io', *SECRET, '--image-opts', '-c', 'write 1M 1M', '-c', 'write -c 2M 256k', '-c', 'write 2304k 1M',
        opts)
    theirs = json.loads(run('qemu-img', 'map', *SECRET, '--output=json', '--image-opts', opts).stdout)
    printed = run(QCBM, 'map', '--output=json', name).stdout
    ours = older.value('map', printed, encrypted=True)
    if ours != theirs or b'"compressed": true' not in printed:
        faults.append('encrypted: map\n  %r\n  %r' % (theirs, ours))


PARTS = [shapes, chains, holes, ranges, measures, snapshots, damaged, encrypted]


def main():
    wanted = sys.argv[1:]
    code = qtool.run_parts('qcbm-views.', [part for part in PARTS if not wanted or part.__name__ in wanted], faults,
                           lambda: '%d images, %d outputs compared, %d differ' % (images, compared, len(faults)))
    return code or compared == 0


if __name__ == '__main__':
    sys.exit(main())
