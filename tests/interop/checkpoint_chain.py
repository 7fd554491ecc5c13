#!/usr/bin/env python3
# checkpoint_chain.py - checkpoints over several disks, looked at, mended and reclaimed: `qcbm checkpoint verify`, `mend`,
# `reclaim`, `xml`
#
# SPDX-License-Identifier: MIT
#
# The verdict is held against libvirt's rules as like.py has them, from what qemu-img says of each layer; that they are
# libvirt's own, tests/recipes/checkpoint-libvirt.sh proves with a real one. What mending made is held against content:
# every byte that differs from the disk as it was at the checkpoint must be dirty.

import json
import os
import random
import shutil
import subprocess

from bitmap_chain import add, alone, damage_table, raw, some_size, some_writes
from like import kill_writer, libvirt_changes
import qtool
from qtool import (KiB, MiB, arguments, clear_feature_bits, differing_ranges, digest, need_tools, ranges_clip,
                   ranges_minus, ranges_or, ranges_total, require, require_equal, run_cases,
                   strace_environment)


def checkpoint(work, action, *options, disks, rc=0):
    named = [word for target, image in disks.items() for word in ('--disk', '%s=%s' % (target, image))]
    return work.qcbm('checkpoint', action, *options, *named, rc=rc)


def verify(work, disks, *options, rc=None):
    """(checkpoint, disk) -> the row; and the whole answer."""
    result = checkpoint(work, 'verify', '--output=json', *options, disks=disks, rc=(0, 2) if rc is None else rc)
    told = json.loads(result.out)
    rows = {(c['name'], d['disk']): d for c in told['checkpoints'] for d in c['disks']}
    require_equal(told['valid'], result.code == 0, 'exit code and "valid"')
    require_equal(told['valid'], all(d['valid'] for d in rows.values()) and not told['zombies'], 'valid')
    return rows, told


def machine(work, *targets, size=2 * MiB):
    """Disks of two layers with checkpoint C1 below and on top, C2 on top."""
    for k, target in enumerate(targets):
        names = [target + '.qcow2', target + '-2.qcow2']
        work.made_once((k, target, size), names, lambda k=k, names=names: make_disk(work, k, *names, size))
    return {target: target + '-2.qcow2' for target in targets}


def make_disk(work, k, base, top, size):
    work.create(base, size)
    add(work, base, 'C1')
    work.io(base, 'write %dk 4k' % (64 * k))
    work.create(top, size, '', base)
    add(work, top, 'C1')
    add(work, top, 'C2')
    work.io(top, 'write %dk 4k' % (1024 + 64 * k))


# ---- verify -----------------------------------------------------------------------------------------------------

def case_verify(work):
    disks = machine(work, 'vda', 'vdb', 'vdc')
    before = {name: digest(work.path(name)) for name in os.listdir(work.dir) if name.endswith('.qcow2')}
    rows, told = verify(work, disks, rc=0)
    require_equal([(name, disk, row['layers'], row['dirty-bytes'], row['granularity'], row['reason'])
                   for (name, disk), row in rows.items()],
                  [(name, disk, layers, layers * 64 * KiB, 64 * KiB, None) for name, layers in (('C1', 2), ('C2', 1))
                   for disk in disks], 'rows')
    require_equal([told[key] for key in ('orphans', 'zombies', 'debris', 'grown-tails')], [[], [], [], []], 'remarks')
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C1')
    work.run('qemu-img', 'bitmap', '--disable', 'vdc.qcow2', 'C1')
    add(work, 'vda.qcow2', 'libvirt-tmp-size-xml')
    work.run('qemu-img', 'resize', '-q', 'vda-2.qcow2', 3 * MiB)
    rows, told = verify(work, disks, '--names=C1,C9', rc=2)
    require_equal({key: (row['valid'], row['reason'], row.get('where')) for key, row in rows.items()},
                  {('C1', 'vda'): (True, None, None), ('C1', 'vdb'): (False, 'not-on-top', 'vdb-2.qcow2'),
                   ('C1', 'vdc'): (False, 'disabled', 'vdc.qcow2')} |
                  {('C9', disk): (False, 'missing', image) for disk, image in disks.items()}, 'verdicts')
    require_equal((rows['C1', 'vda']['tail-bytes'], rows['C1', 'vda']['dirty-bytes']), (MiB, MiB + 128 * KiB), 'tail')
    require_equal((rows['C1', 'vdb']['dirty-bytes'], rows['C9', 'vda']['granularity']), (None, None), 'unknown')
    require_equal((told['zombies'], told['debris'], told['grown-tails']),
                  (['C9'], [{'name': 'libvirt-tmp-size-xml', 'disk': 'vda', 'image': 'vda.qcow2'}],
                   [{'disk': 'vda', 'image': 'vda.qcow2', 'bytes': MiB}]), 'remarks')
    require_equal(sorted((one['name'], one['image']) for one in told['orphans']),
                  [('C2', image) for image in sorted(disks.values())], 'orphans')
    text = checkpoint(work, 'verify', '--names=C1,C9', disks=disks, rc=2).out
    for says in ('not-on-top', 'disabled', 'zombie: C9', 'debris: libvirt-tmp-size-xml vda, vda.qcow2', 'orphan: C2'):
        require(says in text, 'the text lacks %r:\n%s' % (says, text))
    for name in ('vdb.qcow2', 'vdc-2.qcow2'):
        require_equal(digest(work.path(name)), before[name], 'verify wrote to ' + name)
    work.qcbm_refused('checkpoint', 'verify', '--disk', 'vda=none.qcow2', says=['none.qcow2'])
    work.qcbm_refused('checkpoint', 'verify', '--names', 'C1,,C2', '--disk', 'vda=vda.qcow2', says=['commas'])


def case_verify_gap(work):
    """A layer in the middle, and what is further down alone."""
    work.create('a.qcow2', 2 * MiB)
    work.create('b.qcow2', 2 * MiB, '', 'a.qcow2')
    work.create('c.qcow2', 2 * MiB, '', 'b.qcow2')
    for image, names in (('a.qcow2', ['gap', 'low', 'all']), ('b.qcow2', ['all', 'mid']), ('c.qcow2', ['gap', 'all'])):
        for name in names:
            add(work, image, name)
    rows, _ = verify(work, {'vda': 'c.qcow2'}, rc=2)
    require_equal({name: (row['reason'], row['layers'], row.get('where'), row['begins']) for (name, _), row in rows.items()},
                  {'gap': ('gap', 2, 'b.qcow2', 'a.qcow2'), 'low': ('not-on-top', 1, 'c.qcow2', 'a.qcow2'),
                   'mid': ('not-on-top', 1, 'c.qcow2', 'b.qcow2'), 'all': (None, 3, None, 'a.qcow2')}, 'verdicts')


def write_xml(work, name, parent=None, disks='', folder='.'):
    os.makedirs(work.path(folder), exist_ok=True)
    path = os.path.join(folder, name + '.xml')
    with open(work.path(path), 'w') as f:
        f.write('<domaincheckpoint><name>%s</name>%s%s</domaincheckpoint>'
                % (name, '<parent><name>%s</name></parent>' % parent if parent else '',
                   '<disks>%s</disks>' % disks if disks else ''))
    return path


def write_domain(work, disks, name='dom', more=''):
    with open(work.path('dom.xml'), 'w') as f:
        f.write("<domain type='test'><name>%s</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os>"
                '<devices>%s%s</devices></domain>'
                % (name, ''.join("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                                 "<target dev='%s' bus='virtio'/></disk>" % (work.path(image), target)
                                 for target, image in disks.items()), more))
    return 'dom.xml'


def case_xml_files(work):
    disks = machine(work, 'vda', 'vdb')
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C2')
    c2 = write_xml(work, 'C2', 'C1', "<disk name='vda'/><disk name='vdb' checkpoint='no'/>")
    c1 = write_xml(work, 'C1')
    rows, _ = verify(work, disks, c2, c1, rc=0)
    require_equal([*rows], [('C1', 'vda'), ('C1', 'vdb'), ('C2', 'vda')], 'parents first, and the disks of each')
    domain = write_domain(work, disks, more="<disk type='file' device='cdrom'><target dev='sda'/></disk>")
    require_equal(json.loads(work.qcbm('checkpoint', 'verify', '--domain', domain, '--output=json', c1, c2).out)['valid'],
                  True, 'the disks of the domain')
    # the older one was lost where the younger one begins: no rule of libvirt sees that, and it is not what it seems
    add(work, 'vda.qcow2', 'C2')
    require_equal(verify(work, disks, c2, c1, rc=0)[1]['begins-late'], [], 'both begin there')
    work.run('qemu-img', 'bitmap', '--remove', 'vda.qcow2', 'C1')
    rows, told = verify(work, disks, c2, c1, rc=2)
    require_equal([(one['name'], one['younger'], one['disk'], one['image']) for one in told['begins-late']],
                  [('C1', 'C2', 'vda', 'vda.qcow2')], 'begins late')
    late = rows['C1', 'vda']
    require_equal((late['reason'], late['where'], late['begins'], late['layers'], late['dirty-bytes'], rows['C1', 'vdb']['valid']),
                  ('late', 'vda.qcow2', 'vda-2.qcow2', 1, 64 * KiB, True), 'what it covers')
    # and so has one in between, which begins no later than its own parent
    c3 = write_xml(work, 'C3', 'C2', "<disk name='vda'/>")
    for image in ('vda.qcow2', 'vda-2.qcow2'):
        add(work, image, 'C3')
    work.run('qemu-img', 'bitmap', '--remove', 'vda.qcow2', 'C2')
    rows, told = verify(work, disks, c2, c1, c3, rc=2)
    require_equal({name: rows[name, 'vda']['reason'] for name in ('C1', 'C2', 'C3')}, {'C1': 'late', 'C2': 'late', 'C3': None}, 'all')
    write_domain(work, disks, more="<disk type='file'><source file='/x'/><target dev='vdz'/></disk>")
    work.qcbm_refused('checkpoint', 'verify', '--domain', 'dom.xml', says=['vdz', 'no qcow2'])
    write_xml(work, 'C1', 'C2', folder='circle')
    work.qcbm_refused('checkpoint', 'verify', c2, 'circle/C1.xml', '--disk', 'vda=vda-2.qcow2', says=['ancestors'])
    work.qcbm_refused('checkpoint', 'verify', 'vda.qcow2', '--disk', 'vda=vda-2.qcow2', says=['vda.qcow2', 'XML'])


# ---- mend -------------------------------------------------------------------------------------------------------

def mend(work, disks, *options, name='C', rc=0):
    return json.loads(checkpoint(work, 'mend', name, '--output=json', *options, disks=disks, rc=rc).out)


def case_mend(work):
    disks = machine(work, 'vda', 'vdb')
    for image in disks.values():
        work.run('qemu-img', 'bitmap', '--remove', image, 'C1')
    images = [name for name in os.listdir(work.dir) if name.endswith('.qcow2')]
    before = {name: digest(work.path(name)) for name in images}
    dry = mend(work, disks, '--dry-run', name='C1')
    require_equal({name: digest(work.path(name)) for name in images}, before, 'a dry run wrote')
    told = mend(work, disks, name='C1')
    require_equal(told['disks'], dry['disks'], 'what a dry run tells')
    require_equal([(d['disk'], d['dirty-bytes'], d['stored-bytes'], d['over-copy-bytes'], d['begins'], d['changes'])
                   for d in told['disks']],
                  [(disk, 128 * KiB, 64 * KiB, 64 * KiB, disk + '.qcow2',
                    [{'image': image, 'depth': 0, 'bitmap': 'C1', 'was': 'missing', 'took': 'allocated',
                      'granularity': 64 * KiB, 'dirty-bytes': 64 * KiB}]) for disk, image in disks.items()], 'figures')
    verify(work, disks, rc=0)
    require_equal({name: digest(work.path(name)) for name in images if '-2' not in name},
                  {name: was for name, was in before.items() if '-2' not in name}, 'a sound layer was written')
    again = mend(work, disks, name='C1')
    require_equal((again['changed'], [d['changes'] for d in again['disks']]), (False, [[], []]), 'the same again')


def case_mend_states(work, state, options, took):
    """What is written while a bitmap does not record is found by allocation, or by an older one."""
    disks = machine(work, 'vda')
    add(work, 'vda.qcow2', 'P')
    add(work, 'vda-2.qcow2', 'P')
    if state == 'disabled':
        work.run('qemu-img', 'bitmap', '--disable', 'vda-2.qcow2', 'C1')
    else:
        kill_writer(work, 'vda-2.qcow2')
    work.io('vda-2.qcow2', 'write 1536k 4k')
    before = alone(work, 'vda-2.qcow2', 'P')[0] if took == 'copied' else []
    told = mend(work, disks, *options, name='C1')['disks'][0]
    expected = [(MiB, MiB + 64 * KiB), (1536 * KiB, 1600 * KiB)] if took != 'trusted' else [(MiB, MiB + 64 * KiB)]
    if state == 'in-use' and took == 'union':  # the writer that was killed, wherever its data is
        expected = ranges_or(expected, ranges_clip(work.map_allocated('vda-2.qcow2'), 2 * MiB))
    require_equal([(c['was'], c['took']) for c in told['changes']], [(state, took)], 'changes')
    require_equal(alone(work, 'vda-2.qcow2', 'C1')[0], expected, 'bits')
    require_equal(ranges_minus(before, expected, 2 * MiB) if took == 'copied' else [], [], 'the older one')
    require_equal(work.info_bitmaps('vda-2.qcow2')['C1'][1], ['auto'], 'it records')
    verify(work, disks, '--names=C1', rc=0)


def case_mend_stale(work, begins):
    """A program that knows no bitmaps has committed the top, and so emptied it: what it has allocated tells nothing. Where the
    checkpoint began in a layer below, that one's bitmap has it; else all may have changed."""
    work.create('base.qcow2', 2 * MiB)
    work.io('base.qcow2', 'write -P 1 0 256k')
    if begins == 'base.qcow2':
        work.run('qemu-img', 'convert', '-O', 'raw', 'base.qcow2', 'at-C.raw')
        add(work, 'base.qcow2', 'C')
    work.create('top.qcow2', 2 * MiB, '', 'base.qcow2')
    work.io('top.qcow2', 'write -P 2 512k 64k')
    if begins == 'top.qcow2':
        work.run('qemu-img', 'convert', '-O', 'raw', 'top.qcow2', 'at-C.raw')
    add(work, 'top.qcow2', 'C')
    work.io('top.qcow2', 'write -P 3 64k 64k', 'write -P 4 1M 4k')
    work.run('qemu-img', 'commit', '-q', 'top.qcow2')
    clear_feature_bits(work.path('top.qcow2'), 'autoclear', 1)
    disks = {'vda': 'top.qcow2'}
    told = mend(work, disks)['disks'][0]
    dirty = measured(work, ['top.qcow2'] + ['base.qcow2'] * (begins == 'base.qcow2'), 2 * MiB)
    differing = differing_ranges(work.path('at-C.raw'), raw(work, 'top.qcow2', 'now.raw', 2 * MiB), 2 * MiB)
    require(differing, 'nothing has changed')
    require_equal(ranges_minus(differing, dirty, 2 * MiB), [], 'bytes changed since C that are not dirty')
    require_equal([(c['image'], c['was'], c['took']) for c in told['changes']],
                  [('top.qcow2', 'stale', 'all' if begins == 'top.qcow2' else 'allocated')], 'changes')
    verify(work, disks, '--names=C', rc=0)


def case_mend_from_deeper(work):
    """The lowest bitmap was lost: an older checkpoint reaches further down, and makes up for it."""
    disks = machine(work, 'vda')
    add(work, 'vda.qcow2', 'C2')
    work.io('vda.qcow2', 'write 512k 4k')  # since C2, which is to be lost there
    work.run('qemu-img', 'bitmap', '--remove', 'vda.qcow2', 'C2')
    verify(work, disks, rc=0)
    told = mend(work, disks, '--from', 'C1', name='C2')['disks'][0]
    require_equal([(c['image'], c['was'], c['took']) for c in told['changes']], [('vda.qcow2', 'missing', 'copied')], 'changes')
    require_equal(ranges_minus([(512 * KiB, 516 * KiB)], alone(work, 'vda.qcow2', 'C2')[0], 2 * MiB), [], 'what was lost')


def bitmaps_of(work, images):
    found = {image: work.info_bitmaps(image) for image in images}
    return {image: (bitmaps, alone(work, image, *sorted(bitmaps))) for image, bitmaps in found.items()}


def case_killed(work, action, call, fault='signal=KILL:when=%d', step=1):
    """Killed at each call of a kind, or the disk is full from there on: after a recovery all images are as before, or all are
    changed. Without a journal the exit code says which."""
    disks = machine(work, 'vda', 'vdb')
    for image in disks.values():
        work.run('qemu-img', 'bitmap', '--disable', image, 'C1')
    images = sorted(name for name in os.listdir(work.dir) if name.endswith('.qcow2'))
    os.mkdir(work.path('was'))
    for image in images:
        shutil.copyfile(work.path(image), work.path('was/' + image))
    before = bitmaps_of(work, images)
    words = [qtool.QCBM, 'checkpoint', *action, '--journal', 'journal']
    words += [word for target, image in disks.items() for word in ('--disk', '%s=%s' % (target, image))]
    work.run(*words)
    after, seen, n, journals = bitmaps_of(work, images), set(), 1, 0
    require(after != before, 'nothing was changed')
    while True:
        for name in os.listdir(work.dir):
            if '.qcow2' in name or name.startswith('journal'):
                os.unlink(work.path(name))
        for image in images:
            shutil.copyfile(work.path('was/' + image), work.path(image))
        done = subprocess.run(['strace', '-f', '-qq', '-e', 'trace=' + call, '-o', work.path('trace'), '-e',
                               'inject=%s:' % call + fault % n, *words], cwd=work.dir, capture_output=True,
                              env=strace_environment(), check=False)
        what = '%s %d: %s' % (call, n, fault)
        has_journal = os.path.exists(work.path('journal'))
        if has_journal:
            require(done.returncode != 0, what + ': it says that all is done')
            work.qcbm('checkpoint', 'recover', 'journal')
        now = bitmaps_of(work, images)
        require(now in (before, after), '%s: neither before nor after: %r' % (what, now))
        require(has_journal or 'KILL' in fault or (now == after) == (done.returncode == 0),
                '%s: exit code %d: %r' % (what, done.returncode, done.stderr))
        left = {name for name in os.listdir(work.dir) if 'qcbm' in name}
        require(left <= ({'journal.qcbm-new'} if 'KILL' in fault else set()), '%s: left: %r' % (what, left))
        journals += has_journal
        seen.add(now == after)
        for image in images:
            work.run('qemu-img', 'check', '-q', image, rc=(0, 3))
        if done.returncode == 0:
            break
        n += step
    require(n > 4 and seen == {True, False} and journals > 1, '%d, results %r, %d journals' % (n - 1, seen, journals))


def case_undo(work):
    disks = machine(work, 'vda', 'vdb')
    work.run('qemu-img', 'bitmap', '--disable', 'vda.qcow2', 'C1')
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C1')
    before = {name: digest(work.path(name)) for name in os.listdir(work.dir) if name.endswith('.qcow2')}
    dry = checkpoint(work, 'mend', 'C1', '--undo', 'undo', '--dry-run', disks=disks).out
    require('; would take what' in dry and ': would be ' in dry and 'took' not in dry, 'words of a dry run: ' + dry)
    require(not os.path.exists(work.path('undo')), 'a dry run makes no folder')
    mend(work, disks, '--undo', 'undo', name='C1')
    require_equal(sorted(os.listdir(work.path('undo'))), ['vda.1.undo', 'vdb.undo'], 'undo files')
    work.qcbm('undo', 'vda.qcow2', 'undo/vda.1.undo')
    work.qcbm('undo', 'vdb-2.qcow2', 'undo/vdb.undo')
    require_equal({name: digest(work.path(name)) for name in before}, before, 'undone')
    checkpoint(work, 'reclaim', '--keep=C2', '--undo', 'other', disks=disks)
    for name in os.listdir(work.path('other')):
        target, *depth = name.split('.')[:-1]
        work.qcbm('undo', '%s%s.qcow2' % (target, '' if depth else '-2'), 'other/' + name)
    require_equal({name: digest(work.path(name)) for name in before}, before, 'undone')


def case_mend_refused(work):
    disks = machine(work, 'vda', 'vdb')
    images = sorted(name for name in os.listdir(work.dir) if name.endswith('.qcow2'))
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C2')
    options = [word for target, image in disks.items() for word in ('--disk', '%s=%s' % (target, image))]
    work.qcbm_refused('checkpoint', 'mend', 'C2', *options, says=['vdb', 'no layer has', '--from'], unchanged=images)
    work.qcbm_refused('checkpoint', 'mend', 'C2', '--from', 'C2', *options, says=['itself'], unchanged=images)
    work.qcbm_refused('checkpoint', 'mend', 'C2', '--from', 'C7', *options, says=['C7', 'not valid'], unchanged=images)
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C1')
    work.qcbm_refused('checkpoint', 'mend', 'C1', '--from', 'C2', *options, says=['cannot stand in'], unchanged=images)
    add(work, 'vdb-2.qcow2', 'C2')
    work.qcbm_refused('checkpoint', 'mend', 'C1', '--from', 'C2', *options, says=['younger'], unchanged=images)
    with work.serve('vda.qcow2'):  # what is not changed may be read by others
        require_equal(mend(work, disks, name='C1')['changed'], True, 'mended')
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C1')
    with work.serve('vdb-2.qcow2'):
        work.qcbm_refused('checkpoint', 'mend', 'C1', *options, says=['vdb-2.qcow2', 'lock'], unchanged=images)


def case_mend_raw_data(work):
    """Allocation says nothing: an older checkpoint does, or somebody's word, or all of it is dirty."""
    work.create('d.qcow2', 2 * MiB, 'data_file=d.raw,data_file_raw=on')
    add(work, 'd.qcow2', 'P')
    work.io('d.qcow2', 'write 0 4k')
    add(work, 'd.qcow2', 'C')
    work.io('d.qcow2', 'write 1M 4k')
    work.run('qemu-img', 'bitmap', '--disable', 'd.qcow2', 'C')
    disks = {'vda': 'd.qcow2'}
    work.qcbm_refused('checkpoint', 'mend', 'C', '--disk', 'vda=d.qcow2', says=['raw', '--from', '--force'],
                      unchanged=['d.qcow2', 'd.raw'])
    shutil.copyfile(work.path('d.qcow2'), work.path('was.qcow2'))
    for options, took, dirty in ((['--from', 'P'], 'copied', 128 * KiB), (['--trust'], 'trusted', 64 * KiB),
                                 (['--force'], 'all', 2 * MiB)):
        shutil.copyfile(work.path('was.qcow2'), work.path('d.qcow2'))
        told = mend(work, disks, *options)['disks'][0]
        require_equal((told['changes'][0]['took'], told['dirty-bytes'], told['over-copy-bytes']),
                      (took, dirty, dirty - 64 * KiB), 'mended with ' + options[0])
        verify(work, disks, '--names=C', rc=0)
        work.check('d.qcow2')


def case_mend_tail(work):
    """A shorter layer hides what a longer one below it has: no bitmap says so, and no rule of libvirt either."""
    work.create('base.qcow2', 2 * MiB)
    work.io('base.qcow2', 'write -P 7 1536k 64k')
    add(work, 'base.qcow2', 'C')
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'mid.qcow2', MiB)
    add(work, 'mid.qcow2', 'C')
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'mid.qcow2', '-F', 'qcow2', 'top.qcow2', 2 * MiB)
    add(work, 'top.qcow2', 'C')
    disks = {'vda': 'top.qcow2'}
    rows, _ = verify(work, disks, rc=0)
    require_equal((rows['C', 'vda']['dirty-bytes'], rows['C', 'vda']['tail-bytes']), (MiB, MiB), 'verify counts it')
    told = mend(work, disks)['disks'][0]
    require_equal([(c['image'], c['was'], c['took'], c['dirty-bytes']) for c in told['changes']],
                  [('top.qcow2', 'valid', 'tail', MiB)], 'changes')
    require_equal((told['over-copy-bytes'], alone(work, 'top.qcow2', 'C')[0]), (MiB, [(MiB, 2 * MiB)]), 'the tail')
    require_equal(mend(work, disks)['changed'], False, 'the same again')


def case_damaged(work):
    """Bits that cannot be read are made anew from what is allocated."""
    disks = machine(work, 'vda')
    work.run('qemu-img', 'bitmap', '--remove', 'vda-2.qcow2', 'C2')
    damage_table(work, 'vda-2.qcow2')
    rows, _ = verify(work, disks, rc=2)
    require_equal((rows['C1', 'vda']['reason'], rows['C1', 'vda']['where']), ('damaged', 'vda-2.qcow2'), 'verdict')
    work.run('qemu-img', 'info', 'vda-2.qcow2', rc=1)
    change = mend(work, disks, name='C1')['disks'][0]['changes'][0]
    require_equal((change['was'], change['took'], change['dirty-bytes']), ('damaged', 'allocated', 64 * KiB), 'mended')
    verify(work, disks, rc=0)
    work.run('qemu-img', 'check', '-q', 'vda-2.qcow2', rc=(0, 3))  # what the table named is lost: it leaks


def case_shared_base(work):
    """A layer below two disks is changed once."""
    work.create('base.qcow2', 2 * MiB)
    add(work, 'base.qcow2', 'C')
    work.io('base.qcow2', 'write 0 4k')
    work.run('qemu-img', 'bitmap', '--disable', 'base.qcow2', 'C')
    disks = {}
    for target in 'vda', 'vdb':
        disks[target] = work.create(target + '.qcow2', 2 * MiB, '', 'base.qcow2')
        work.io(disks[target], 'write 1M 4k')
    told = mend(work, disks)
    require_equal([[c['image'] for c in d['changes']] for d in told['disks']],
                  [['vda.qcow2', 'base.qcow2'], ['vdb.qcow2']], 'changes')
    require_equal([d['dirty-bytes'] for d in told['disks']], [128 * KiB, 128 * KiB], 'dirty')
    verify(work, disks, rc=0)
    add(work, 'base.qcow2', 'X')
    told = json.loads(checkpoint(work, 'reclaim', '--keep=C', '--output=json', disks=disks).out)
    require_equal([(one['name'], one['disk'], one['image']) for one in told['removed']], [('X', 'vda', 'base.qcow2')],
                  'removed')


# ---- reclaim ----------------------------------------------------------------------------------------------------

def case_reclaim(work):
    disks = machine(work, 'vda', 'vdb')
    add(work, 'vda.qcow2', 'libvirt-tmp-size-xml')
    add(work, 'vdb.qcow2', 'old')
    kill_writer(work, 'vdb.qcow2')
    images = sorted(name for name in os.listdir(work.dir) if name.endswith('.qcow2'))
    before = {name: digest(work.path(name)) for name in images}
    options = [word for target, image in disks.items() for word in ('--disk', '%s=%s' % (target, image))]
    require('--keep' in work.qcbm('checkpoint', 'reclaim', *options, rc=1).err, 'wrong use')
    work.qcbm_refused('checkpoint', 'reclaim', '--keep', 'C2,C7', *options, says=['C7', '--force'], unchanged=images)
    with work.serve('vdb.qcow2'):
        work.qcbm_refused('checkpoint', 'reclaim', '--keep', 'C2', *options, says=['vdb.qcow2', 'lock'], unchanged=images)
    for given in (['--keep=C1', '--keep=C2'], ['--keep=C2,C1'], ['--keep-xml=one', '--keep-xml', 'two']):  # none is forgotten
        for folder, name in ('one', 'C1'), ('two', 'C2'):
            if not os.path.isdir(work.path(folder)):
                write_xml(work, name, folder=folder)
        told = json.loads(checkpoint(work, 'reclaim', *given, '--dry-run', '--output=json', disks=disks).out)
        require({r['name'] for r in told['removed']}.isdisjoint({'C1', 'C2'}), 'removed with %r: %r' % (given, told['removed']))
    dry = json.loads(checkpoint(work, 'reclaim', '--keep=C2', '--dry-run', '--output=json', disks=disks).out)
    require_equal({name: digest(work.path(name)) for name in images}, before, 'a dry run wrote')
    write_xml(work, 'C2', folder='xml')
    told = json.loads(checkpoint(work, 'reclaim', '--keep-xml=xml', '--output=json', disks=disks).out)
    require_equal(told['removed'], dry['removed'], 'what a dry run tells')
    require_equal([sorted(work.info_bitmaps(image)) for image in images], [['C2'], [], ['C2'], []], 'what is left')
    require_equal(len(told['removed']), 6, 'removed')
    for image in images:
        work.check(image)
    require('nothing to remove' in checkpoint(work, 'reclaim', '--keep=C2', disks=disks).out, 'the same again')


# ---- XML --------------------------------------------------------------------------------------------------------

def virsh(work, *commands):
    return work.run('virsh', '-q', '-c', 'test:///default', '; '.join(commands))


def case_xml(work):
    """What is written, libvirt's test driver takes, as the lines that are printed say; and it is read again."""
    disks = machine(work, 'vda', 'vdb')
    domain = write_domain(work, disks)
    os.mkdir(work.path('xml'))
    told = work.qcbm('checkpoint', 'xml', 'C1', 'C2', '--domain', domain, '--folder', 'xml', '--time', '1700000000').out
    lines = told.splitlines()
    require_equal(lines, ['virsh checkpoint-create dom xml/C%d.xml --redefine' % k for k in (1, 2)], 'lines')
    work.qcbm('checkpoint', 'verify', 'xml/C2.xml', 'xml/C1.xml', '--domain', domain)
    one = work.qcbm('checkpoint', 'xml', 'C2', '--parent', 'C1', '--domain', domain, '--time', '1700000000').out
    with open(work.path('xml/C2.xml')) as f:
        require_equal(one, f.read(), 'the same on stdout')
    words = sum((['--disk', '%s=%s' % one] for one in disks.items()), [])
    work.qcbm('checkpoint', 'create', 'C3', *words, '--xml', 'C3.xml', '--parent', 'C2')
    out = virsh(work, 'define dom.xml', 'start dom', *(line[len('virsh '):] for line in lines),
                'checkpoint-create dom C3.xml --redefine', 'checkpoint-list dom --tree',
                'checkpoint-dumpxml dom C2 --no-domain', 'checkpoint-dumpxml dom C3 --no-domain').out
    require_equal([word for word in out.split() if word in ('C1', 'C2', 'C3')][:3], ['C1', 'C2', 'C3'], 'the tree')
    require("<disk name='vda' checkpoint='bitmap' bitmap='C3'/>" in out, out)
    require("<disk name='vdb' checkpoint='bitmap' bitmap='C2'/>" in out, out)
    work.qcbm_refused('checkpoint', 'xml', 'C1', '--domain', domain, '--folder', 'xml', says=['xml/C1.xml'])
    require('--folder' in work.qcbm('checkpoint', 'xml', 'C1', 'C2', '--domain', domain, rc=1).err, 'wrong use')
    work.run('qemu-img', 'bitmap', '--remove', 'vdb-2.qcow2', 'C2')
    work.qcbm_refused('checkpoint', 'xml', 'C2', '--domain', domain, says=['vdb', 'missing'])
    work.qcbm('checkpoint', 'xml', 'C2', '--force', '--domain', domain)
    work.qcbm_refused('checkpoint', 'xml', 'C 2', '--force', '--domain', domain, says=['C 2'])


# ---- random chains ----------------------------------------------------------------------------------------------

def random_chain(work, rng, prefix):
    """Layers from the top down with P and C, younger than P, in all of them down to where each began; sizes; the file
    of the disk when C began; how many layers have C."""
    size, images, sizes, n_c, n_p = some_size(rng), [], [], 0, 0
    begins_p, begins_c = sorted([rng.randint(0, 2), rng.randint(0, 2)])
    gran = {name: rng.choice([512, 4096, 65536, MiB]) for name in 'PC'}
    for n in range(rng.randint(begins_c + 1, 4)):
        name = '%s%d.qcow2' % (prefix, n)
        size = rng.choice([size, size, some_size(rng)])
        work.create(name, size, 'cluster_size=%s' % rng.choice(['4k', '64k']), images[0] if images else None)
        images, sizes = [name] + images, [size] + sizes
        names = [x for x, begins in (('P', begins_p), ('C', begins_c)) if n > begins]
        for x in names:
            add(work, name, x, rng.choice([gran[x], rng.choice([512, 65536])]))
        some_writes(work, rng, name, size)
        if n == begins_p:
            add(work, name, 'P', gran['P'])
            some_writes(work, rng, name, size)
        if n == begins_c:
            work.run('qemu-img', 'convert', '-O', 'raw', name, prefix + '-at-C.raw')
            add(work, name, 'C', gran['C'])
            some_writes(work, rng, name, size)
        n_p += n >= begins_p
        n_c += n >= begins_c
    return images, sizes, n_c, n_p


def break_layer(work, rng, image, size, kinds):
    kind = rng.choice(kinds)
    if kind == 'missing':
        work.run('qemu-img', 'bitmap', '--remove', image, 'C')
        some_writes(work, rng, image, size)
    elif kind == 'disabled':
        work.run('qemu-img', 'bitmap', '--disable', image, 'C')
        some_writes(work, rng, image, size)
    elif kind == 'in-use':
        kill_writer(work, image)
        some_writes(work, rng, image, size)
    elif kind == 'stale':
        clear_feature_bits(work.path(image), 'autoclear', 1)
    return kind


def case_random_verify(work, seed):
    rng = random.Random(seed)
    disks, images = {}, {}
    for target in 'vda', 'vdb':
        images[target], sizes, n, _ = random_chain(work, rng, target)
        disks[target] = images[target][0]
        for at, image in enumerate(images[target]):
            if rng.random() < 0.3:
                kinds = ['missing', 'disabled', 'in-use'] if at < n else ['in-use']
                break_layer(work, rng, image, sizes[at], kinds)
    rows, _ = verify(work, disks, '--names=C,P')
    for (name, target), row in rows.items():
        changed = libvirt_changes(work, images[target], name)
        require_equal(row['valid'], changed is not None, "libvirt's rules for %s of %s" % (name, target))


def measured(work, images, size):
    """Dirty bytes of all layers that have C and can be read, exactly."""
    pieces = []
    for image in images:
        if work.info_bitmaps(image).get('C', (0, ['in-use']))[1] in (['auto'], []):
            pieces += alone(work, image, 'C')[0]
    return ranges_clip(ranges_or(pieces), size)


def case_random_mend(work, seed):
    rng = random.Random(seed)
    disks, all_of, options = {}, {}, ['--from', 'P'] if rng.random() < 0.4 else []
    for target in ('vda', 'vdb')[:rng.randint(1, 2)]:
        images, sizes, n_c, n_p = random_chain(work, rng, target)
        disks[target], all_of[target] = images[0], (images, sizes, n_c)
        saved = {}
        for at in range(n_c):
            kinds = ['missing', 'disabled'] if options else ['missing', 'disabled', 'in-use', 'stale']
            if not options and at == n_c - 1:  # where it began: nothing could tell that
                kinds.remove('missing')
            if rng.random() < 0.6:
                saved[images[at]] = alone(work, images[at], 'C')[0]
                kind = break_layer(work, rng, images[at], sizes[at], kinds)
                if kind in ('missing', 'stale'):
                    saved[images[at]] = []
                elif kind == 'disabled':
                    saved.pop(images[at])
        all_of[target] += (ranges_clip(ranges_or(measured(work, images, sizes[0]), *saved.values()), sizes[0]),)
    told = mend(work, disks, *options)
    rows, _ = verify(work, disks, '--names=C', rc=0)
    for disk in told['disks']:
        images, sizes, n_c, before = all_of[disk['disk']]
        require(libvirt_changes(work, images, 'C') is not None, "libvirt's rules")
        dirty = measured(work, images, sizes[0])
        require_equal((disk['dirty-bytes'], disk['stored-bytes'], disk['over-copy-bytes']),
                      (ranges_total(dirty), ranges_total(before), ranges_total(dirty) - ranges_total(before)),
                      'figures of ' + disk['disk'])
        at_c = work.path(disk['disk'] + '-at-C.raw')
        os.truncate(at_c, sizes[0])
        differing = differing_ranges(at_c, raw(work, images[0], 'now.raw', sizes[0]), sizes[0])
        require_equal(ranges_minus(differing, dirty, sizes[0]), [], 'bytes changed since C that are not dirty')
        for image in images:
            work.check(image)


CASES = [
    (case_verify, 'verify', {}),
    (case_verify_gap, 'verify-gap', {}),
    (case_xml_files, 'xml-files', {}),
    (case_mend, 'mend', {}),
    (case_mend_from_deeper, 'mend-from-deeper', {}),
    (case_killed, 'mend-killed', {'action': ['mend', 'C1'], 'call': 'fdatasync'}),
    (case_killed, 'reclaim-killed', {'action': ['reclaim', '--keep', 'C2'], 'call': 'fdatasync'}),
    (case_undo, 'undo', {}),
    (case_mend_refused, 'mend-refused', {}),
    (case_mend_states, 'mend-disabled', {'state': 'disabled', 'options': [], 'took': 'union'}),
    (case_mend_states, 'mend-disabled-trusted', {'state': 'disabled', 'options': ['--trust'], 'took': 'trusted'}),
    (case_mend_states, 'mend-disabled-from', {'state': 'disabled', 'options': ['--from', 'P'], 'took': 'copied'}),
    (case_mend_states, 'mend-in-use', {'state': 'in-use', 'options': [], 'took': 'union'}),
    (case_mend_states, 'mend-in-use-trusted', {'state': 'in-use', 'options': ['--trust'], 'took': 'trusted'}),
    (case_mend_stale, 'mend-stale-top', {'begins': 'top.qcow2'}),
    (case_mend_stale, 'mend-stale-base', {'begins': 'base.qcow2'}),
    (case_mend_tail, 'mend-tail', {}),
    (case_mend_raw_data, 'mend-raw-data', {}),
    (case_damaged, 'damaged', {}),
    (case_shared_base, 'shared-base', {}),
    (case_reclaim, 'reclaim', {}),
    (case_xml, 'xml', {}),
]


def main():
    args = arguments('qcbm checkpoint verify, mend, reclaim and xml, against the real qemu tools')
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo', 'strace', 'virsh')
    cases = CASES + [(case_random_verify, 'random-verify-%d' % k, {'seed': args.seed * 1013 + k})
                     for k in range(200 if args.full else 4)]
    full = 'error=ENOSPC:when=%d+'
    cases += [(case_killed, '%s-%s-%s' % (action[0], call, 'full' if fault == full else 'killed'),
               {'action': action, 'call': call, 'fault': fault, 'step': 1 if args.full else 6})
              for action in (['mend', 'C1'], ['reclaim', '--keep', 'C2'])
              for call, fault in [('pwrite64', 'signal=KILL:when=%d'), ('pwrite64', full), ('fdatasync', full)][:3 if args.full else 2]]
    cases += [(case_random_mend, 'random-mend-%d' % k, {'seed': args.seed * 2027 + k})
              for k in range(500 if args.full else 6)]
    run_cases(args, cases)


if __name__ == '__main__':
    main()
