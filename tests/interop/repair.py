#!/usr/bin/env python3
# repair.py - qcbm check -r with the real programs as witnesses: QEMU opens what it had refused, its own check finds nothing,
# what can be kept is there, and an undo gives the identical file back
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool.

import functools
import json
import random
import shutil
import struct

import qtool
from qtool import KiB, MiB, Qcow2, patch, require, require_equal

SIZE = 8 * MiB
NAMES = 'mon', 'tue', 'wed'


def u32(value):
    return struct.pack('>I', value)


def u64(value):
    return struct.pack('>Q', value)


# ---- damage to what leads to the second of three bitmaps, or to all -------------------------------------------------

def payload(image, offset, value):
    patch(image.path, image.bitmaps_offset() + 8 + offset, value)


def field(image, offset, value):
    patch(image.path, image.bitmaps()[1].entry_offset + offset, value)


def table(image, value):
    patch(image.path, image.bitmaps()[1].table_offset, value)


def at_payload(offset, value):
    return functools.partial(payload, offset=offset, value=value)


def at_entry(offset, value):
    return functools.partial(field, offset=offset, value=value)


def in_table(value):
    return functools.partial(table, value=value)


def zero_directory(image):
    patch(image.path, image.bitmaps()[0].entry_offset, bytes(image.cluster_size))


def cut_directory(image):
    patch(image.path, image.bitmaps()[1].entry_offset, bytes(image.cluster_size // 2))


def extension_and_directory(image):
    zero_directory(image)
    payload(image, -4, u32(12))


def no_number(image):
    zero_directory(image)
    payload(image, 0, u32(0))


def table_of_the_first(image):
    field(image, 0, u64(image.bitmaps()[0].table_offset))


def table_of_the_guest(image):
    field(image, 0, u64(image.words(image.l2_place(0), 1)[0] & ~(1 << 63)))


def data_of_the_guest(image):
    table(image, u64(image.words(image.l2_place(0), 1)[0] & ~(1 << 63)))


def set_refcount(image, offset, value):
    block = image.words(image.words(48, 1)[0], 1)[0]
    patch(image.path, block + 2 * (offset // image.cluster_size), struct.pack('>H', value))


def uncounted(image):
    """What QEMU's own repair destroys the directory for."""
    one = image.bitmaps()[1]
    set_refcount(image, one.table_offset, 0)
    set_refcount(image, one.table[0], 0)


def emptied(image):
    uncounted(image)
    patch(image.path, image.bitmaps()[1].table[0], bytes(image.cluster_size))


def autoclear_alone(image):
    """The extension becomes one that nobody knows."""
    payload(image, -8, u32(0x12345678))


# ---- one repair ------------------------------------------------------------------------------------------------------

def make(work):
    work.made_once('of repair', ['a.qcow2'], lambda: make_anew(work))


def make_anew(work):
    work.create('a.qcow2', SIZE)
    work.io('a.qcow2', 'write -q -P 2 0 1M')
    for k, name in enumerate(NAMES):
        work.run('qemu-img', 'bitmap', '--add', '-g', '%dk' % (4 << k), 'a.qcow2', name)
        work.io('a.qcow2', 'write -q -P %d %dk 20k' % (9 + k, 1024 * k + 300))
    work.run('qemu-img', 'bitmap', '--disable', 'a.qcow2', 'wed')


def bits(work, name):
    found = {b.name.decode(): b for b in Qcow2(work.path(name)).bitmaps()}
    dirty = qtool.served_dirty(work, name, list(found))
    return {n: (b.granularity, b.enabled, dirty[n]) for n, b in found.items()}


def rescued(work, damage, exact, superset=(), refused=True, codes=(), leaks=(0, 3)):
    """@exact keep their bits, @superset get no less than they had, the others are gone. @refused: QEMU does not open it."""
    make(work)
    before = bits(work, 'a.qcow2')
    work.run('qemu-img', 'convert', '-O', 'raw', 'a.qcow2', 'want.raw')
    damage(Qcow2(work.path('a.qcow2')))
    damaged = qtool.digest(work.path('a.qcow2'))
    require_equal(work.run('qemu-img', 'info', '-U', 'a.qcow2', rc=None).code != 0, refused, 'QEMU refuses it')
    shown = work.qcbm('check', '-r', 'bitmaps', '--dry-run', 'a.qcow2', rc=None)
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after a dry run')
    done = work.qcbm('check', '-r', 'bitmaps', '--undo', 'undo', 'a.qcow2', rc=leaks)
    require_equal(shown.code, done.code, 'exit codes of the dry run and the repair')
    for code in codes:
        require('repair: [%s]' % code in done.err, '%s is not told: %s' % (code, done.err))
    work.run('qemu-img', 'check', 'a.qcow2', rc=done.code)
    work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', 'a.qcow2', 'want.raw')
    after = bits(work, 'a.qcow2')
    require_equal(sorted(after), sorted(set(exact) | set(superset)), 'bitmaps')
    for name in exact:
        require_equal(after[name], before[name], 'bits of ' + name)
    for name in superset:
        missed = qtool.ranges_minus(before[name][2], after[name][2], SIZE) if name in before else []
        require_equal(missed, [], 'bytes that %s misses' % name)
    shutil.copy(work.path('a.qcow2'), work.path('b.qcow2'))
    work.io('b.qcow2', 'write -q 7M 64k')  # QEMU saves all of them
    require_equal(sorted(bits(work, 'b.qcow2')), sorted(after), 'bitmaps after a guest wrote')
    again = work.qcbm('check', '-r', 'bitmaps', 'a.qcow2', rc=done.code)
    require('repair:' not in again.err, 'repaired again: ' + again.err)
    work.qcbm('undo', 'a.qcow2', 'undo')
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after the undo')


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


def removed(work, damage, argv, left):
    """Who takes bitmaps out of a damaged directory has it mended on the way."""
    make(work)
    before = bits(work, 'a.qcow2')
    damage(Qcow2(work.path('a.qcow2')))
    damaged = qtool.digest(work.path('a.qcow2'))
    verb, name = argv
    words = [verb, 'a.qcow2', name] if verb == '--remove' else [verb, name, 'a.qcow2']
    work.qcbm('bitmap', '--dry-run', *words)
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after a dry run')
    work.qcbm('bitmap', '--undo', 'undo', *words)
    work.run('qemu-img', 'check', 'a.qcow2', rc=(0, 3))
    after = bits(work, 'a.qcow2')
    require_equal(sorted(after), sorted(left), 'bitmaps that are left')
    for name in set(left) - {'tue'}:
        require_equal(after[name], before[name], 'bits of ' + name)
    work.qcbm('undo', 'a.qcow2', 'undo')
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after the undo')


def replaced(work, damage, name, exact, told=True):
    """A new bitmap in place of one has the damage to others mended on the way."""
    make(work)
    before = bits(work, 'a.qcow2')
    want = work.map_allocated('a.qcow2')
    damage(Qcow2(work.path('a.qcow2')))
    damaged = qtool.digest(work.path('a.qcow2'))
    work.qcbm('synth', '--replace', '--dry-run', '-g', '64k', 'a.qcow2', name)
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after a dry run')
    done = work.qcbm('synth', '--replace', '--undo', 'undo', '-g', '64k', 'a.qcow2', name)
    require(('repair:' in done.err) == told, 'what is told: ' + done.err)
    work.run('qemu-img', 'check', 'a.qcow2', rc=(0, 3))
    after = bits(work, 'a.qcow2')
    require_equal(sorted(after), sorted(NAMES), 'bitmaps')
    require_equal(after[name][2], qtool.ranges_outward(want, 65536, SIZE), 'what is dirty in ' + name)
    for other in NAMES:
        if other in exact:
            require_equal(after[other], before[other], 'bits of ' + other)
        else:
            require_equal(qtool.ranges_minus(before[other][2], after[other][2], SIZE), [], 'bytes that %s misses' % other)
    work.qcbm('undo', 'a.qcow2', 'undo')
    require_equal(qtool.digest(work.path('a.qcow2')), damaged, 'digest after the undo')


def not_replaced(work, damage, name='tue'):
    """What a replacement would take from others is not taken unasked."""
    make(work)
    damage(Qcow2(work.path('a.qcow2')))
    work.qcbm_refused('synth', '--replace', 'a.qcow2', name, says=['check -r bitmaps'], unchanged=['a.qcow2'])
    done = work.qcbm('synth', '--replace', '--dry-run', 'a.qcow2', name, rc=1)  # which may have figures to show
    require('check -r bitmaps' in done.err, done.err)


def not_named(work, damage, argv):
    """Bitmaps that nobody can name any more would go with the one that is named: refused, with what gives them up."""
    make(work)
    damage(Qcow2(work.path('a.qcow2')))
    damaged = qtool.digest(work.path('a.qcow2'))
    for option in [], ['--dry-run']:
        done = work.qcbm('bitmap', *option, *argv, rc=1)
        require('check -r bitmaps' in done.err and 'repair:' not in done.err, done.err)
        require_equal((done.out, qtool.digest(work.path('a.qcow2'))), ('', damaged), 'stdout, and digest after the refusal')


def stale(work, length=24):
    """Another program wrote: what it changed nobody knows, but the names are there."""
    make(work)
    payload(Qcow2(work.path('a.qcow2')), -4, u32(length))
    patch(work.path('a.qcow2'), 88, bytes(8))
    if length != 24:
        work.run('qemu-img', 'info', 'a.qcow2', rc=1)
        work.qcbm('check', '-r', 'bitmaps', 'a.qcow2', rc=(0, 3))
        work.io('a.qcow2', 'write -q 7M 64k')
        return
    work.qcbm('check', '-r', 'bitmaps', 'a.qcow2')
    work.run('qemu-img', 'check', 'a.qcow2')
    for name, (_, enabled, dirty) in bits(work, 'a.qcow2').items():
        require_equal((enabled, dirty), (True, [(0, SIZE)]), name)


def gone(work):
    """What bitmaps had that nobody can name any more is freed by force alone, at each level."""
    make(work)
    zero_directory(Qcow2(work.path('a.qcow2')))
    for level in 'leaks', 'all':
        shutil.copy(work.path('a.qcow2'), work.path('b.qcow2'))
        done = work.qcbm('check', '-r', level, 'b.qcow2', rc=2 if level == 'leaks' else 3)
        require('repair: [leaks-kept] 6 leaked clusters stay' in done.err, done.err)
    work.qcbm('check', '-r', 'all', '--force', 'a.qcow2')
    work.run('qemu-img', 'check', 'a.qcow2')


def on_device(work, room):
    """A block device does not get longer: what is free on it is used, and where that is not enough nothing is written."""
    import repair_mutations as mutations

    mutations.make(work, options='cluster_size=4096')
    mutations.KINDS['l2-to-data' if room else 'reftable-zeroed'](mutations.Damage(work.path('x.qcow2'), random.Random(5)))
    with open(work.path('x.qcow2'), 'r+b') as f:
        f.truncate(-(-f.seek(0, 2) // MiB) * MiB + 4 * MiB)
    with qtool.loop_device(work, 'x.qcow2') as device:
        if not device:
            return
        before = qtool.digest(device)
        done = work.qcbm('check', '-r', 'all', '--force', device, rc=0 if room else 1)
        if room:
            work.run('qemu-img', 'check', device)
        else:
            require('the block device has' in done.err and 'nothing was written' in done.err, done.err)
            require_equal(qtool.digest(device), before, 'digest')


def marked(work, incompatible, level):
    """Marks in the header do not keep bitmaps from being mended; only -r all takes them away."""
    make(work)
    at_entry(12, u32(0x12))(Qcow2(work.path('a.qcow2')))
    qtool.set_feature_bits(work.path('a.qcow2'), 'incompatible', incompatible)
    work.qcbm('check', '-r', level, 'a.qcow2')
    require_equal(Qcow2(work.path('a.qcow2')).incompatible & 3, 0 if level == 'all' else incompatible, 'marks')
    require_equal(len(Qcow2(work.path('a.qcow2')).bitmaps()), 3, 'bitmaps')
    work.run('qemu-img', 'check', 'a.qcow2')


def both(work, damage, level='all'):
    """Bitmaps and refcounts: what repairs the one does not lose the other."""
    make(work)
    before = bits(work, 'a.qcow2')
    image = Qcow2(work.path('a.qcow2'))
    for one in damage:
        one(image)
    set_refcount(image, image.words(image.l2_place(0), 1)[0] & ~(1 << 63), 0)
    work.qcbm('check', '-r', 'bitmaps', 'a.qcow2', rc=1 if damage else 2)
    work.qcbm('check', '-r', level, '--undo', 'undo', 'a.qcow2')
    work.run('qemu-img', 'check', 'a.qcow2')
    after = bits(work, 'a.qcow2')
    for name in 'mon', 'wed':
        require_equal(after[name], before[name], 'bits of ' + name)


CALLS = 'pwrite64', 'fdatasync', 'ftruncate'


def killed(work, damage, exact):
    """Killed at each write, flush and growth: QEMU opens it, or the same command repairs it to the same end."""
    make(work)
    before = bits(work, 'a.qcow2')
    damage(Qcow2(work.path('a.qcow2')))
    shutil.copy(work.path('a.qcow2'), work.path('damaged'))
    n_states = 0
    for call in CALLS:
        for n in range(1, 40):
            shutil.copy(work.path('damaged'), work.path('a.qcow2'))
            argv = ['strace', '-f', '-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n),
                    qtool.QCBM, 'check', '-r', 'bitmaps', 'a.qcow2']
            if work.run(*argv, rc=None).code in (0, 3):
                break
            n_states += 1
            work.qcbm('check', '-r', 'bitmaps', 'a.qcow2', rc=(0, 3))
            work.run('qemu-img', 'check', 'a.qcow2', rc=(0, 3))
            after = bits(work, 'a.qcow2')
            for name in exact:
                require_equal(after[name], before[name], 'bits of %s after a kill at %s %d' % (name, call, n))
    require(n_states >= 4, 'only %d states' % n_states)


def cases():
    rest = 'mon', 'wed'
    rows = [
        ('nothing in the directory', zero_directory, (), {'codes': ['bitmap-directory']}),
        ('directory cut', cut_directory, ('mon',), {'codes': ['bitmap-directory']}),
        ('entry of zeros', at_entry(0, bytes(24)), rest, {'superset': ['tue'], 'codes': ['bitmap-all-dirty']}),
        ('length of a name', at_entry(18, b'\2\0'), NAMES, {}),
        ('count too large', at_payload(0, u32(5)), NAMES, {}),
        ('count too small', at_payload(0, u32(2)), NAMES, {}),
        ('count zero', at_payload(0, u32(0)), NAMES, {}),
        ('extension too short', at_payload(-4, u32(16)), NAMES, {}),
        ('extension too long', at_payload(-4, u32(1 << 20)), NAMES, {}),
        ('extension of length 0', at_payload(-4, u32(0)), NAMES, {}),
        ('extension and directory', extension_and_directory, (), {'codes': ['bitmap-directory']}),
        ('reserved field', at_payload(4, u32(1)), NAMES, {}),
        ('size too small', at_payload(8, u64(88)), NAMES, {}),
        ('size out of range', at_payload(8, u64(1 << 50)), NAMES, {}),
        ('size zero', at_payload(8, u64(0)), NAMES, {}),
        ('directory past the end', at_payload(16, u64(1 << 40)), (), {}),
        ('table unaligned', at_entry(0, u64(0x1234)), rest, {'superset': ['tue']}),
        ('table past the end', at_entry(0, u64(1 << 40)), rest, {'superset': ['tue'], 'refused': False}),
        ('table size', at_entry(8, u32(2)), rest, {'superset': ['tue']}),
        ('unknown flags', at_entry(12, u32(0x12)), rest + ('tue',), {'codes': ['bitmap-rescued']}),
        ('unknown type', at_entry(16, b'\2'), rest, {'superset': ['tue']}),
        ('granularity', at_entry(17, b'\3'), rest, {'superset': ['tue']}),
        ('NUL in a name', at_entry(25, b'\0'), rest, {'superset': ['t_e'], 'refused': False, 'codes': ['bitmap-renamed']}),
        ('two of one name', at_entry(24, b'mon'), ('wed',), {'superset': ['mon'], 'codes': ['bitmap-united']}),
        ('table entry', in_table(u64(0x1001)), rest, {'superset': ['tue'], 'codes': ['bitmap-superset']}),
        ('data past the end', in_table(u64(1 << 40)), rest, {'superset': ['tue'], 'refused': False}),
        ('one table for two', table_of_the_first, ('wed',), {'superset': ['mon', 'tue'], 'refused': False}),
        ("a guest's cluster as table", table_of_the_guest, rest, {'superset': ['tue']}),
        ("a guest's cluster as data", data_of_the_guest, rest, {'superset': ['tue'], 'refused': False, 'leaks': (0, 2, 3)}),
        ('counted as free', uncounted, NAMES, {'refused': False}),
        ('counted as free and emptied', emptied, rest, {'superset': ['tue'], 'refused': False}),
        ('mark without extension', autoclear_alone, (), {'refused': False, 'codes': ['bitmaps-autoclear']}),
    ]
    out = [(removed, '%s, %s' % (' '.join(argv), name), {'damage': damage, 'argv': argv, 'left': left})
           for name, damage, argv, left in (
               ('length of a name', at_entry(18, b'\2\0'), ['--remove', 'tue'], rest),
               ('unknown type', at_entry(16, b'\2'), ['--remove', 'mon'], ('tue', 'wed')),
               ('unknown type', at_entry(16, b'\2'), ['--prune', 'm*'], ('tue', 'wed')))]
    itself = ('unknown type', 'tue'), ('granularity', 'tue')  # what is wrong goes with it
    out += [(replaced, 'synth --replace %s, %s' % (name, what), {'damage': damage, 'name': name, 'exact': exact, 'told': (what, name) not in itself})
            for what, damage, name, exact in (
                ('length of a name', at_entry(18, b'\2\0'), 'tue', rest),
                ('unknown type', at_entry(16, b'\2'), 'mon', ('wed',)),
                ('unknown type', at_entry(16, b'\2'), 'tue', rest),
                ('granularity', at_entry(17, b'\3'), 'tue', rest),
                ('count too large', at_payload(0, u32(5)), 'mon', ('tue', 'wed')),
                ('extension too short', at_payload(-4, u32(16)), 'mon', ('tue', 'wed')),
                ('counted as free', uncounted, 'mon', ('tue', 'wed')))]
    out += [(not_replaced, 'synth --replace, %s' % what, {'damage': damage}) for what, damage in (
        ('nothing in the directory', zero_directory), ('directory cut', cut_directory),
        ('a table of two', table_of_the_first))]
    out += [(not_replaced, 'synth --replace, bits of another', {'damage': in_table(u64(0x1001)), 'name': 'wed'})]
    out += [(not_named, 'not named: %s, %s' % (' '.join(argv), name), {'damage': damage, 'argv': argv})
            for name, damage in (('nothing in the directory', zero_directory), ('directory cut', cut_directory),
                                 ('past the end', at_payload(16, u64(1 << 40))), ('no number either', no_number))
            for argv in (['--remove', 'a.qcow2', 'tue'], ['--remove', 'a.qcow2', 'typo'], ['--prune', '*', 'a.qcow2'])]
    out += [(not_named, 'not named: a table of two, ' + ' '.join(argv), {'damage': table_of_the_first, 'argv': argv})
            for argv in (['--remove', 'a.qcow2', 'tue'], ['--prune', 't*', 'a.qcow2'])]
    out += [(removed, 'both of a table of two', {'damage': table_of_the_first, 'argv': ['--prune', '[mt]*'], 'left': ('wed',)})]
    out += [(stale, 'stale bitmaps', {}), (stale, 'stale bitmaps, length of the extension', {'length': 8})]
    out += [(on_device, 'on a block device, with' + ('' if room else 'out') + ' room', {'room': room}) for room in (True, False)]
    out += [(gone, 'bits of bitmaps that are gone', {})]
    out += [(marked, 'marks %d, %s' % (bits_, level), {'incompatible': bits_, 'level': level})
            for bits_ in (1, 2, 3) for level in ('bitmaps', 'all')]
    out += [(both, 'with refcounts, ' + name, {'damage': damage}) for name, damage in (
        ('sound bitmaps', []), ('unknown flags', [at_entry(12, u32(0x12))]), ('uncounted', [uncounted]),
        ('count', [at_payload(0, u32(5))]), ('table entry', [in_table(u64(0x1001))]))]
    out += [(killed, 'killed, ' + name, {'damage': damage, 'exact': exact}) for name, damage, exact in (
        ('count', at_payload(0, u32(5)), NAMES), ('table entry', in_table(u64(0x1001)), rest),
        ('counted as free', uncounted, NAMES), ('nothing in the directory', zero_directory, ()))]
    out += [(as_qemu, 'as qemu-img: %s, %s' % (level, kind), {'level': level, 'kind': kind})
            for level in ('leaks', 'all') for kind in ('leaks', 'copied-l2', 'copied-l1')]
    return [(sound, 'a sound image', {})] + out + [(rescued, name, dict(more, damage=damage, exact=exact))
                                             for name, damage, exact, more in rows]


# ---- beside qemu-img -----------------------------------------------------------------------------------------------

OWN = ('findings', 'summary', 'problems', 'repairs', 'dry-run', 'damages', 'warnings')


def as_qemu(work, level, kind):
    """What QEMU repairs in place: its output, its JSON, its exit code, besides lines and members of qcbm's own."""
    import repair_mutations as mutations

    mutations.make(work, options='cluster_size=4096')
    mutations.KINDS[kind](mutations.Damage(work.path('x.qcow2'), random.Random(5)))
    for options in [], ['--output=json']:
        told = []
        for tool in 'qemu-img', 'qcbm':
            shutil.copy(work.path('x.qcow2'), work.path('a.qcow2'))
            args = ['check', '-r', level, *(['--all'] if tool == 'qcbm' else []), *options, 'a.qcow2']
            done = work.qcbm(*args, rc=None) if tool == 'qcbm' else work.run(tool, *args, rc=None)
            out = {k: v for k, v in json.loads(done.out).items() if k not in OWN} if options else done.out
            told.append((done.code, out, [line for line in done.err.splitlines() if not line.startswith('qcbm: ')]))
            work.check('a.qcow2')
        require_equal(told[1], told[0], 'exit code, stdout, stderr')


def main():
    args = qtool.arguments(__doc__ or 'repairs of qcbm check -r')
    qtool.need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'strace')
    qtool.run_cases(args, cases())


if __name__ == '__main__':
    main()
