#!/usr/bin/env python3
# lost_tables.py - leaked clusters that a lost L1 or L2 table mapped: "check" names them and calls them no waste, "synth"
# refuses or says what may be missing; leaks that an ordinary crash leaves stay what they are
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. qemu-img makes the images, a few bytes are then overwritten.

import json
import re
import struct

import qtool
from qtool import MiB, Qcow2, patch, peek, require, require_equal



def make(work, options='', size='2G', writes=('write -q -P 1 0 4M', 'write -q -P 2 600M 32M')):
    work.create('base.qcow2', size)
    back = [] if 'data_file' in options else ['-b', 'base.qcow2', '-F', 'qcow2']
    work.create_image([*(['-o', options] if options else []), *back], 'a.qcow2', size)
    work.io('a.qcow2', *writes)
    return Qcow2(work.path('a.qcow2'))


def l2_offset(image, index):
    return image.words(image.l1_offset + 8 * index, 1)[0] & 0xfffffffffffe00


def zero_l2(image, index=1):
    patch(image.path, l2_offset(image, index), bytes(image.cluster_size))


def zero_l1_entry(image, index=1):
    patch(image.path, image.l1_offset + 8 * index, bytes(8))


def zero_l1_entry_2(image):
    """With subclusters a table maps half as much."""
    zero_l1_entry(image, 2)


def zero_l1(image):
    patch(image.path, image.l1_offset, bytes(8 * image.l1_size))


def check(work, code=3):
    """Codes of what was found, and what was printed."""
    result = work.qcbm('check', 'a.qcow2', rc=code)
    fields = json.loads(work.qcbm('check', '--output=json', 'a.qcow2', rc=code).out)
    explained = work.qcbm('check', '--explain', 'a.qcow2', rc=code).err
    codes = {finding['code']: finding['message'] for finding in fields.get('findings', [])}
    if 'lost-table' in codes or 'lost-table-suspected' in codes:
        require('no harm' not in result.out, result.out)
        require('check -r leaks' not in explained, explained)
        require('do not free' in result.out, result.out)
    return codes, result


def dry_run(work, name='a.qcow2', *options, rc=0):
    done = json.loads(work.qcbm('synth', '--output=json', '--dry-run', *options, name, 'new', rc=rc).out)
    return done['dirty-bytes'], [note for note in done['notes'] if 'mapping table' in note]


def leak_notes(work):
    done = json.loads(work.qcbm('synth', '--output=json', '--dry-run', 'a.qcow2', 'new', rc=0).out)
    return [note for note in done['notes'] if 'leaks of a crash' in note]


def suspicion(work, index=1):
    """The table is there and says nothing: a note with the figures, and the bitmap is made."""
    image = make(work)
    zero_l2(image, index)
    codes, _ = check(work)
    require_equal(sorted(codes), ['cluster-leaked', 'lost-table-suspected'], 'codes')
    message = codes['lost-table-suspected']
    require('512 leaked clusters (33554432 bytes)' in message and '0x20000000 - 0x40000000' in message, message)
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    done = work.qcbm('synth', 'a.qcow2', 'new', rc=0)
    require(message in done.out, done.out)
    require_equal(len(dry_run(work, 'a.qcow2', '--replace')[1]), 1, 'notes')


def evidence(work, lose, tables, options='', writes=None, dirty=4 * MiB):
    """The pointer is lost, the table is there: refused, also a dry run, which has the figures; --force goes on, and says it."""
    image = make(work, options, **({'writes': writes} if writes else {}))
    lose(image)
    codes, result = check(work)
    require('lost-table' in codes, str(codes))
    require_equal(len(re.findall(r'\[lost-table\]', result.err)), tables, 'tables named\n' + result.err)
    work.qcbm('check', '--strict', 'a.qcow2', rc=2)
    before = qtool.digest(image.path)
    refused = work.qcbm('synth', 'a.qcow2', 'new', rc=1)
    require('mapping table is lost' in refused.err and 'qcbm check --explain a.qcow2' in refused.err, refused.err)
    require_equal(qtool.digest(image.path), before, 'the image after a refusal')
    figures, notes = dry_run(work, rc=1)
    require_equal(figures, dirty, 'dirty bytes of the dry run')
    require(('1 mapping table is lost' if tables == 1 else '%d mapping tables are lost' % tables) in notes[0], str(notes))
    done = work.qcbm('synth', '--force', 'a.qcow2', 'new', rc=0)
    require(re.search('mapping tables? (is|are) lost', done.out), done.out)


def snapshots(work):
    """The active L1 is zeros, but a snapshot refers to the same tables: they count once too often."""
    image = make(work)
    work.run('qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    require_equal(check(work, 0)[0], {}, 'codes of the sound image')
    require_equal(dry_run(work)[1], [], 'notes of the sound image')
    zero_l1(image)
    codes, _ = check(work)
    require('lost-table' in codes, str(codes))
    work.qcbm('synth', 'a.qcow2', 'new', rc=1)


def since_snapshot(work, lose, proved):
    """What changed since a snapshot is missing as well: here, in another image, in dry runs, and up to another snapshot."""
    image = make(work, writes=('write -q -P 1 0 4M', 'write -q -P 2 600M 4M'))
    for name, write in (('s', 'write -q -P 3 600M 4M'), ('t', 'write -q -P 4 600M 4M')):
        work.run('qemu-img', 'snapshot', '-c', name, 'a.qcow2')
        work.run('qemu-io', '-f', 'qcow2', '-c', write, 'a.qcow2')
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'to.qcow2', '2G')
    states = (['--since-snapshot', 's'], ['--since-snapshot', 's', '--snapshot', 't', '--disabled'])
    for state in states:
        require_equal(dry_run(work, 'a.qcow2', *state, '--into', 'to.qcow2')[1], [], 'notes of the sound image')
    lose(Qcow2(image.path))
    before = qtool.digest(image.path), qtool.digest(work.path('to.qcow2'))
    for state in states:
        for into in ([], ['--into', 'to.qcow2']):
            _, notes = dry_run(work, 'a.qcow2', *state, *into, rc=1 if proved else 0)
            require(('mapping table is lost, what' if not proved else 'lost, what') in notes[0], str(notes))
            if proved:
                refused = work.qcbm('synth', *state, *into, 'a.qcow2', 'new', rc=1)
                require('a mapping table is lost' in refused.err, refused.err)
                require_equal((qtool.digest(image.path), qtool.digest(work.path('to.qcow2'))), before, 'after a refusal')
            done = work.qcbm('synth', *state, *into, *(['--force'] if proved else []), 'a.qcow2', 'new', rc=0)
            require('mapping table' in done.out, done.out)
            work.run('qemu-img', 'bitmap', '--remove', into[-1] if into else 'a.qcow2', 'new')
            before = qtool.digest(image.path), qtool.digest(work.path('to.qcow2'))


def snapshot_table(work):
    """The header has forgotten a snapshot, the only one that has some clusters."""
    image = make(work)
    work.run('qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q -P 3 600M 32M', 'a.qcow2')
    patch(image.path, 60, bytes(12))
    codes, _ = check(work)
    require('lost-table' in codes or 'lost-table-suspected' in codes, str(codes))


def snapshot_being_made(work, before):
    """A crash while a snapshot is made: everything counts once more, and nothing is lost."""
    image = make(work)
    for k in range(before + 1):
        work.run('qemu-img', 'snapshot', '-c', 's%d' % k, 'a.qcow2')
    patch(image.path, 60, struct.pack('>I', before))
    codes, result = check(work)
    require('lost-table' not in codes, result.err)
    work.qcbm('synth', 'a.qcow2', 'new', rc=0)


def noted(work, writes, damage, leaked, size='1G', prepare=None):
    """Damage that leaves no table of zeros and, perhaps, no place without a table: a suspicion all the same."""
    make(work, size=size, writes=writes)
    if prepare:
        prepare(work)
    damage(Qcow2(work.path('a.qcow2')))
    codes, result = check(work, None)
    require('lost-table-suspected' in codes, result.err)
    require('%d leaked clusters' % leaked in codes['lost-table-suspected'], codes['lost-table-suspected'])
    require('lost entries of a table' in codes['lost-table-suspected'], codes['lost-table-suspected'])
    require_equal(len(dry_run(work)[1]), 1, 'notes')


def zero_piece(image):
    """A page of a table."""
    patch(image.path, l2_offset(image, 0), bytes(4096))


def copy_of_another(image):
    patch(image.path, l2_offset(image, 1), peek(image.path, l2_offset(image, 0), image.cluster_size))


def add_bitmaps(work):
    for k in range(10):
        work.run('qemu-img', 'bitmap', '--add', 'a.qcow2', 'b%d' % k)


def stale_and_zeros(image):
    zero_l2(image, 0)
    qtool.clear_feature_bits(image.path, 'autoclear', 1)


def all_mapped(work):
    """Where all of the disk is mapped nothing can be missing."""
    image = make(work, size='64M', writes=('write -q 0 64M',))
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    with open(image.path, 'ab') as f:
        f.truncate(end + 40 * image.cluster_size)
    block = image.words(image.reftable_offset, 1)[0]
    patch(image.path, block + 2 * (end // image.cluster_size), b'\0\1' * 40)
    require_equal(sorted(check(work)[0]), ['cluster-leaked'], 'codes')
    require_equal(dry_run(work)[1], [], 'notes')


def few_leaks(work):
    """Clusters that were allocated and not yet mapped, if they are that: no suspicion, and no promise."""
    image = make(work)
    require_equal(leak_notes(work), [], 'notes of the sound image')
    end = -(-image.file_size // image.cluster_size) * image.cluster_size
    with open(image.path, 'ab') as f:
        f.truncate(end + 15 * image.cluster_size)
    block = image.words(image.reftable_offset, 1)[0]
    patch(image.path, block + 2 * (end // image.cluster_size), b'\0\1' * 15)
    codes, result = check(work)
    require_equal(sorted(codes), ['cluster-leaked'], 'codes')
    theirs = work.run('qemu-img', 'check', 'a.qcow2', rc=3).out
    require_equal(result.out, theirs.replace('harm to data.', 'harm to data, unless a mapping table was lost.'), 'stdout')
    require_equal(dry_run(work)[1], [], 'notes')
    require_equal(leak_notes(work), ['15 clusters (983040 bytes) are in use and nothing refers to them: leaks of a crash, or '
                                     "what a lost table had; 'qcbm check --explain FILE' tells"], 'notes')


def few_lost(work):
    """An L2 table of zeros that had three clusters: the same."""
    image = make(work, size='512M', writes=('write -q -P 1 0 192k',))
    zero_l2(image, 0)
    codes, result = check(work)
    require_equal(sorted(codes), ['cluster-leaked'], 'codes')
    require('unless a mapping table was lost' in result.out, result.out)
    done = work.qcbm('synth', 'a.qcow2', 'new', rc=0)
    require('0 B dirty' in done.out and 'note: 3 clusters (196608 bytes) are in use and nothing' in done.out, done.out)


def few_all_in_place(work):
    """No table is missing and none is zeros: qemu-img's words, and a note, since an entry can be lost as well."""
    image = make(work, size='512M', writes=('write -q -P 1 0 192k',))
    patch(image.path, l2_offset(image, 0), bytes(8))
    codes, result = check(work)
    require_equal(result.out, work.run('qemu-img', 'check', 'a.qcow2', rc=3).out, 'stdout')
    require_equal([note[:40] for note in leak_notes(work)], ['1 cluster (65536 bytes) is in use and no'], 'notes')


def few_shared(work):
    """A cluster that a snapshot has, too, is in use; what leaks is a reference."""
    image = make(work, size='512M', writes=('write -q -P 1 0 192k',))
    work.run('qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q -P 2 0 64k', 'a.qcow2')
    patch(image.path, l2_offset(Qcow2(image.path), 0) + 8, bytes(8))
    require_equal([note[:54] for note in leak_notes(work)],
                  ['1 cluster (65536 bytes) counts once more than anything'], 'notes')


def dirty_bit(work):
    """Refcounts that may be old raise no suspicion; what is proved stays proved."""
    image = make(work)
    zero_l2(image)
    qtool.set_feature_bits(image.path, 'incompatible', 1)
    require('lost-table-suspected' not in check(work)[0], 'a suspicion')
    zero_l1_entry(image, 0)
    require('lost-table' in check(work)[0], 'no evidence')


def middle_layer(work):
    image = make(work)
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'top.qcow2')
    require_equal(dry_run(work, 'top.qcow2', '--since', 'base.qcow2')[1], [], 'notes')
    zero_l1_entry(image)
    notes = dry_run(work, 'top.qcow2', '--since', 'base.qcow2', rc=1)[1]
    require("layer 'a.qcow2'" in notes[0].replace(work.dir + '/', ''), str(notes))
    work.qcbm('synth', '--since', 'base.qcow2', 'top.qcow2', 'new', rc=1)
    work.qcbm('synth', 'top.qcow2', 'new', rc=0)


def bitmaps_of_layers(work):
    """Bitmaps have clusters too, in each layer: nothing is lost."""
    make(work)
    for k in range(3):
        work.run('qemu-img', 'bitmap', '--add', '-g', '4k', 'a.qcow2', 'b%d' % k)
    work.run('qemu-io', '-f', 'qcow2', '-c', 'write -q 0 1M', '-c', 'write -q 1G 1M', 'a.qcow2')
    work.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'top.qcow2')
    require_equal(dry_run(work, 'top.qcow2', '--since', 'base.qcow2')[1], [], 'notes')
    require_equal(dry_run(work)[1], [], 'notes')


def unfinished_bitmap(work):
    """What a crash leaves of a bitmap looks like a table, and is none of the disk."""
    image = make(work, options='cluster_size=4k', size='256M', writes=('write -q 0 4M',))
    work.run('qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    work.run('qemu-img', 'bitmap', '--add', '-g', '512', 'a.qcow2', 'b')
    work.run('qemu-io', '-f', 'qcow2', *[part for k in range(8) for part in ('-c', 'write -q %dM 4k' % (20 * k))],
             'a.qcow2')
    image = Qcow2(image.path)
    patch(image.path, image.bitmaps_offset(), struct.pack('>I', 0x12345678))
    qtool.clear_feature_bits(image.path, 'autoclear', 1)
    codes, result = check(work)
    require('lost-table' not in codes, result.err)
    work.qcbm('synth', 'a.qcow2', 'new', rc=0)


def live_guest(work):
    """What a running program writes meanwhile is no leak."""
    image = make(work)
    zero_l2(image)
    require_equal(dry_run(work, 'a.qcow2', '-U')[1], [], 'notes')


def many_tables(work):
    """Each of very many leaked tables is read once, and told."""
    image = make(work, options='cluster_size=4k', size='64M', writes=('write -q 0 64M',))
    zero_l1(image)
    codes, result = check(work)
    require_equal(len(re.findall(r'\[lost-table\]', result.err)), 32, 'tables named')
    fields = json.loads(work.qcbm('check', '--output=json', 'a.qcow2', rc=3).out)
    require_equal(sum(f['code'] == 'lost-table' for f in fields['findings']), 32, 'tables in the JSON')
    require_equal(sorted(work.qcbm('check', '--memory=4k', 'a.qcow2', rc=3).err.splitlines()),
                  sorted(result.err.splitlines()), 'with little memory')
    require(codes, 'nothing found')


def main():
    args = qtool.arguments(__doc__ or 'lost mapping tables')
    qtool.need_tools('qemu-img', 'qemu-io')
    zeros = tuple('write -q -z %dM 64k' % (600 + k) for k in range(8)) + ('write -q 600M 64k', 'write -q 0 4M')
    compressed = tuple('write -q -c %dk 64k' % (600 * 1024 + 64 * k) for k in range(8)) + ('write -q 0 4M',)
    qtool.run_cases(args, [
        (suspicion, 'an L2 table of zeros', {}),
        (evidence, 'an L1 entry', {'lose': zero_l1_entry, 'tables': 1}),
        (evidence, 'the L1 table', {'lose': zero_l1, 'tables': 2, 'dirty': 0}),
        (evidence, 'an L1 entry, of zeros mostly', {'lose': zero_l1_entry, 'tables': 1, 'writes': zeros}),
        (evidence, 'an L1 entry, compressed', {'lose': zero_l1_entry, 'tables': 1, 'writes': compressed}),
        (evidence, 'an L1 entry, one cluster', {'lose': zero_l1_entry, 'tables': 1,
                                                'writes': ('write -q 0 4M', 'write -q 600M 1k')}),
        (evidence, 'an L1 entry, subclusters', {'lose': zero_l1_entry_2, 'tables': 1, 'options': 'extended_l2=on'}),
        (evidence, 'an L1 entry, data file', {'lose': zero_l1_entry, 'tables': 1, 'options': 'data_file=data.raw'}),
        (snapshots, 'snapshots', {}),
        (since_snapshot, 'since a snapshot: an L2 table of zeros', {'lose': zero_l2, 'proved': False}),
        (since_snapshot, 'since a snapshot: an L1 entry', {'lose': zero_l1_entry, 'proved': True}),
        (since_snapshot, 'since a snapshot: the L1 table', {'lose': zero_l1, 'proved': True}),
        (snapshot_table, 'a snapshot', {}),
        (snapshot_being_made, 'a first snapshot being made', {'before': 0}),
        (snapshot_being_made, 'a third snapshot being made', {'before': 2}),
        (noted, 'a page of a table', {'size': '64M', 'writes': ('write -q -P 1 0 48M',), 'damage': zero_piece, 'leaked': 512}),
        (noted, 'a page of a table, places', {'size': '2G', 'writes': ('write -q -P 1 0 48M',), 'damage': zero_piece,
                                              'leaked': 512}),
        (noted, 'a copy of another table', {'writes': ('write -q -P 1 0 4M', 'write -q -P 2 512M 32M'),
                                            'damage': copy_of_another, 'leaked': 512}),
        (noted, 'zeros beside stale bitmaps', {'writes': ('write -q -P 1 0 16M',), 'prepare': add_bitmaps,
                                               'damage': stale_and_zeros, 'leaked': 267}),
        (all_mapped, 'all is mapped', {}),
        (few_leaks, 'few leaks', {}),
        (few_lost, 'few leaks, an L2 table of zeros', {}),
        (few_all_in_place, 'few leaks, an entry', {}),
        (few_shared, 'few leaks, shared', {}),
        (dirty_bit, 'dirty bit', {}),
        (middle_layer, 'a layer of the chain', {}),
        (bitmaps_of_layers, 'bitmaps of layers', {}),
        (unfinished_bitmap, 'an unfinished bitmap', {}),
        (live_guest, 'a live guest', {}),
        (many_tables, 'many tables', {}),
    ])


if __name__ == '__main__':
    main()
