"""Package qcbm against what the C tests expect, and against what qemu-img says of the same images

SPDX-License-Identifier: MIT
"""
import array
import errno
import gc
import glob
import gzip
import io
import json
import os
import subprocess
import sys

import pytest

import qcbm
from conftest import EXPECTED, ROOT, Bytes, dirty, run

TOOL = os.environ['QCBM']


def test_synth_gives_what_the_c_example_gives(overlay):
    with qcbm.Image(overlay, qcbm.OpenFlag.WRITE) as image:
        done = image.synth('b0')
        assert (done.summary.dirty_bytes, done.summary.virtual_size) == (262144, 4194304)
        assert [layer.filename for layer in done.layers] == [overlay]
        assert dirty(image) == EXPECTED
    run('qemu-img', 'check', '-q', overlay)
    bitmaps = json.loads(run('qemu-img', 'info', '--output=json', overlay))['format-specific']['data']['bitmaps']
    assert [(b['name'], b['granularity']) for b in bitmaps] == [('b0', 65536)]


def test_info_is_that_of_qemu_img(marked):
    said = json.loads(run('qemu-img', 'info', '--output=json', marked))
    with qcbm.Image(marked) as image:
        assert image.info.virtual_size == said['virtual-size']
        assert image.info.cluster_size == said['cluster-size']
        assert image.info.backing_file == said['backing-filename']
        assert image.info.disk_size == said['actual-size']
        [bitmap] = image.bitmaps
        assert (bitmap.name, bitmap.enabled, bitmap.granularity) == ('b0', True, 65536)
        assert image.bitmap_usage('b0').dirty_bytes == 262144
        image.check_table('b0')


def test_pages_iterator_and_callback_agree(marked):
    with qcbm.Image(marked) as image:
        by_callback = []
        image.extents_into('b0', by_callback.append, flags=qcbm.ExtentsFlag.ZERO)
        with image.extents('b0', flags=qcbm.ExtentsFlag.ZERO) as extents:
            assert list(extents) == by_callback
            assert sum(e.length for e in by_callback) == extents.size == 4194304
            assert [e.offset for e in by_callback if e.zero and e.dirty] == [2097152]
            assert sum(len(view) // 24 for view in extents.batches(n=2)) == len(by_callback)
            assert next(iter(extents.batches(start=1050000))).cast('B')[0:8] == (1050000).to_bytes(8, sys.byteorder)
            with pytest.raises(ValueError):
                next(extents.batches(n=0))
        part = []
        image.extents_into('b0', part.append, offset=65536, length=131072)
        assert [(e.offset, e.length, e.dirty) for e in part] == [(65536, 65536, True), (131072, 65536, False)]


def test_extents_of_layers_and_snapshots(overlay):
    run('qemu-img', 'snapshot', '-c', 's0', overlay)
    run('qemu-io', '-f', 'qcow2', '-c', 'write 3M 64k', overlay)
    with qcbm.Image(overlay) as image:
        assert [e[:2] for e in image.extents_of_layers().dirty()] == EXPECTED + [(3145728, 65536)]
        assert [e[:2] for e in image.extents_of_snapshots('name:s0').dirty()] == [(3145728, 65536)]
        assert [s.name for s in image.snapshots] == ['s0']


def test_map_is_that_of_qemu_img(marked):
    said = json.loads(run('qemu-img', 'map', '--output=json', marked))
    expected = [(m['start'], m['length'], m['depth'], m['data'], m['zero'], m.get('offset')) for m in said]
    with qcbm.Image(marked) as image:
        found = list(image.map())
        again = []
        image.map_into(again.append)
    for entries in (found, again):
        assert [(m.start, m.length, m.depth, m.data, m.zero, None if m.offset == qcbm.NO_OFFSET else m.offset)
                for m in entries] == expected


def test_host_map_covers_the_file_as_qemu_img_has_its_data(marked):
    said = [(m['offset'], m['length']) for m in json.loads(run('qemu-img', 'map', '--output=json', marked))
            if m['depth'] == 0 and m['data']]
    with qcbm.Image(marked) as image:
        runs, told = [], []
        image.host_map(runs.append, progress=lambda done, total: told.append(total))
        assert [r.offset for r in runs] == [0] + [r.offset + r.length for r in runs[:-1]]
        assert runs[-1].offset + runs[-1].length == os.path.getsize(marked) and told
        [data] = [r for r in runs if r.kind is qcbm.HostKind.DATA]
        assert (data.offset, data.length) == (min(offset for offset, _ in said), sum(length for _, length in said))
        assert {r.kind for r in runs} >= {qcbm.HostKind.HEADER, qcbm.HostKind.TABLES, qcbm.HostKind.BITMAPS}
        with pytest.raises(ZeroDivisionError):
            image.host_map(lambda extent: 1 / 0)


def test_guest_bytes(marked):
    with qcbm.Image(marked) as image:
        assert image.read(65536, 4096) == b'\7' * 4096
        assert image.read(2097152 - 512, 1024) == bytes(1024)
        buffer = bytearray(131072)
        image.read_into(1048576, memoryview(buffer))
        assert buffer == b'\10' * 131072


def test_chain(marked):
    with qcbm.Image(marked) as image, image.chain() as chain:
        assert [os.path.basename(layer.filename) for layer in chain] == ['overlay.qcow2', 'base.qcow2']
        assert chain[1].image.info.virtual_size == 4194304
        assert chain.measure().required == image.measure().required
    os.remove(os.path.join(os.path.dirname(marked), 'base.qcow2'))
    with qcbm.Image(marked) as image:
        with pytest.raises(qcbm.BrokenChain):
            image.chain()
        with image.chain(partial=True) as chain:
            assert len(chain) == 1 and chain.broken is not None and 'base.qcow2' in chain.broken.message


def test_an_edit_is_committed_at_the_end(marked):
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image:
        with image.edit() as edit:
            edit.rotate('b0', 'b1')
            edit.add('b2', granularity=131072)
            edit.set_range('b2', 0, 1)
            assert edit.look('b2').dirty_bytes == 131072
            edit.merge('b2', 'b0')
            edit.regranularise('b2', 65536)
        assert edit.committed.writes > 0
        assert [(b.name, b.enabled) for b in image.bitmaps] == [('b0', False), ('b1', True), ('b2', True)]
        assert dirty(image, 'b2') == [(0, 131072), *EXPECTED[1:2], (2097152, 131072)]
    run('qemu-img', 'check', '-q', marked)


def test_an_edit_is_forgotten_when_something_is_raised(marked):
    before = open(marked, 'rb').read()
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image:
        with pytest.raises(ZeroDivisionError):
            with image.edit() as edit:
                edit.remove('b0')
                1 / 0
        with pytest.raises(qcbm.NotFound) as caught:
            with image.edit() as edit:
                edit.remove('b0')
                edit.clear('nobody')
        assert caught.value.code is qcbm.Code.E_NOTFOUND and caught.value.call == 'qcbm_edit_clear'
        assert isinstance(caught.value, LookupError)
    assert open(marked, 'rb').read() == before


def test_plan_and_undo(marked, tmp_path):
    before = open(marked, 'rb').read()
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image:
        with image.edit() as edit:
            edit.clear('b0')
            edit.set_undo(tmp_path / 'u')
            steps = []
            plan = edit.plan(steps.append)
            assert plan.writes == len(steps) and {'switch'} <= {s.stage_name for s in steps}
        assert dirty(image) == []
        result = image.undo(tmp_path / 'u')
        assert result.found == qcbm.UndoFound.AFTER
    assert open(marked, 'rb').read() == before


def test_errors_have_code_errno_and_offset(tmp_path, marked):
    with pytest.raises(qcbm.NotFound) as caught:
        qcbm.Image(tmp_path / 'nothing')
    assert caught.value.errno == errno.ENOENT and caught.value.offset is None
    with pytest.raises(qcbm.NotQcow2):
        qcbm.Image(__file__)
    with pytest.raises(TypeError, match="no option 'granularty'; it has granularity, since, flags, "):
        qcbm.Image(marked).synth('b1', granularty=1)
    with pytest.raises(ValueError):
        qcbm.Image('a\0b')
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE):
        with pytest.raises(qcbm.Locked):
            qcbm.Image(marked, qcbm.OpenFlag.WRITE)
    with open(marked, 'r+b') as f:
        f.seek(40)
        f.write((12345).to_bytes(8, 'big'))  # the L1 table is not aligned
    with pytest.raises(qcbm.Corrupt) as caught:
        qcbm.Image(marked)
    assert caught.value.offset == 40
    assert qcbm.verdict_refused(caught.value).harmless is False


def test_a_callback_stops_by_raising(marked):
    class Enough(Exception):
        pass

    def stop(*_):
        raise Enough

    with qcbm.Image(marked) as image:
        for call in (lambda: image.extents_into('b0', stop), lambda: image.map_into(stop),
                     lambda: image.export('b0', stop), lambda: image.usage(progress=stop)):
            with pytest.raises(Enough):
                call()
        with image.chain() as chain, pytest.raises(Enough):
            chain.write_manifest(stop)
        assert dirty(image) == EXPECTED


def test_export_and_import(marked):
    pieces = []
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image:
        image.export('b0', pieces.append)
        data = b''.join(pieces)
        with image.edit() as edit:
            position = [0]

            def read(length):
                piece = data[position[0]:position[0] + min(length, 7)]
                position[0] += len(piece)
                return piece

            assert edit.import_('b1', read).name == 'b0'
            edit.remove('b0')
        assert dirty(image, 'b1') == EXPECTED
        with pytest.raises(qcbm.Corrupt):
            with image.edit() as edit:
                edit.import_('b2', io.BytesIO(data[:-1]).read)
        with pytest.raises(ValueError):  # more than was asked for
            with image.edit() as edit:
                edit.import_('b2', lambda length: bytes(length + 1))


@pytest.mark.parametrize('folder', sorted(os.path.dirname(p) for p in glob.glob(f'{ROOT}/tests/fixtures/*/image.gz')))
def test_check_finds_what_the_command_finds(folder, tmp_path):
    image_path = tmp_path / 'image'
    with gzip.open(folder + '/image.gz') as f:
        image_path.write_bytes(f.read())
    said = json.loads(subprocess.run([TOOL, 'check', '--output=json', image_path], capture_output=True).stdout)
    try:
        image = qcbm.Image(image_path)
    except qcbm.Error as e:
        pytest.fail(f'does not open: {e}')
    with image, image.report() as report:
        assert report.result.corruptions == said.get('corruptions', 0)
        assert report.result.leaks == said.get('leaks', 0)
        counted = {}
        for finding in report:
            counted[finding.problem.code] = counted.get(finding.problem.code, 0) + 1
        by_callback = []
        assert image.check(finding=by_callback.append) == report.result
        assert len(by_callback) == sum(counted.values()) + report.left_out


def test_delta_apply_merge(marked, tmp_path):
    run('qemu-img', 'convert', '-O', 'raw', os.path.join(os.path.dirname(marked), 'base.qcow2'), tmp_path / 'disk')
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image:
        notes = []
        first = image.delta(tmp_path / 'd1', flags=qcbm.DeltaFlag.LAYER, note='the first', note_fn=notes.append)
        with image.edit() as edit:
            edit.clear('b0')
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 3M 64k', marked)
    with qcbm.Image(marked) as image:
        second = image.delta(tmp_path / 'd2', bitmap='b0', parent_id=first.id)
    assert (first.data_bytes, second.data_bytes) == (196608, 65536)
    assert qcbm.delta_info(tmp_path / 'd1', qcbm.DeltaInfoFlag.VERIFY).note == 'the first'
    merged = qcbm.merge_deltas([tmp_path / 'd1', tmp_path / 'd2'], tmp_path / 'd12')
    assert merged.id == second.id
    told = []
    result = qcbm.apply(tmp_path / 'disk', [tmp_path / 'd12'], base_format='raw', delta=told.append)
    assert result.applied == 1 and told[0].what == qcbm.ApplyWhat.APPLIED
    qcbm.check_applied(tmp_path / 'disk')
    run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', tmp_path / 'disk', marked)
    with pytest.raises(qcbm.Unsafe):
        qcbm.apply(tmp_path / 'disk', [tmp_path / 'd1'], base_format='raw')


def test_manifest(marked, tmp_path):
    with qcbm.Image(marked) as image, image.chain() as chain, open(tmp_path / 'm', 'wb') as f:
        assert chain.write_manifest(f.write, seed=1, has_seed=True, text='t').granules == 64
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 3M 64k', marked)
    with qcbm.Image(marked) as image, image.chain() as chain, qcbm.Manifest(tmp_path / 'm') as manifest:
        assert manifest.info.text == 't'
        ranges = []
        result = manifest.verify(chain, ranges.append)
        assert not result.equal and [(r.offset, r.length) for r in ranges] == [(3145728, 65536)]


def test_checkpoints(marked, tmp_path):
    run('qemu-img', 'create', '-q', '-f', 'qcow2', tmp_path / 'second.qcow2', '1M')
    disks = [('vda', marked), qcbm.CheckpointDisk('vdb', str(tmp_path / 'second.qcow2'), None)]
    told = []
    assert qcbm.create_checkpoint('c1', disks, disk=told.append).created == 2
    assert [(d.target, d.outcome) for d in told] == [('vda', qcbm.CheckpointOutcome.CREATED),
                                                    ('vdb', qcbm.CheckpointOutcome.CREATED)]
    report = qcbm.verify_checkpoints(disks, names=['c1'])
    assert report.summary.valid_rows == 2 and [r.reason for r in report.rows] == [qcbm.CheckpointReason.VALID] * 2
    text = []
    qcbm.CheckpointXml.write(text.append, name='c1', disks=['vda', 'vdb'], creation_time=5)
    with qcbm.CheckpointXml(b''.join(text)) as xml:
        assert (xml.info.name, xml.info.creation_time, [d.name for d in xml.disks]) == ('c1', 5, ['vda', 'vdb'])
        assert qcbm.verify_checkpoints(disks, xml=[xml]).summary.valid_rows == 2
    gone = []
    qcbm.reclaim_checkpoints(disks, ['c1'], removed=gone.append, flags=qcbm.OpenFlag.WRITE)
    assert [(g.disk, g.name) for g in gone] == [('vda', 'b0')]
    with pytest.raises(qcbm.Exists):
        qcbm.create_checkpoint('c1', disks)


def test_storage_of_ones_own(overlay):
    storage = Bytes(open(overlay, 'rb').read())
    with qcbm.open_storage(storage, qcbm.OpenFlag.WRITE) as image:
        image.synth('b0')
        assert dirty(image) == EXPECTED
    assert storage.closed == 1
    memory = qcbm.Memory(bytes(storage.data))
    with memory.open() as image:
        assert dirty(image) == EXPECTED
    assert memory.data == bytes(storage.data)
    def fails(offset, length):
        raise OSError(errno.EIO, 'a bad sector')

    storage.read_at = fails
    with pytest.raises(qcbm.IOFailed, match='a bad sector') as caught:
        qcbm.open_storage(storage)
    assert caught.value.errno == errno.EIO and isinstance(caught.value, OSError)
    assert storage.closed == 2


def test_storage_of_ones_own_as_a_raw_disk(marked, tmp_path):
    run('qemu-img', 'convert', '-O', 'raw', marked, tmp_path / 'disk')
    storage = Bytes((tmp_path / 'disk').read_bytes())
    with qcbm.Image(marked) as image, image.chain() as chain, open(tmp_path / 'm', 'wb') as f:
        chain.write_manifest(f.write)
    with qcbm.Manifest(tmp_path / 'm') as manifest:
        with qcbm.open_raw_storage(storage, 'over there', qcbm.OpenFlag.NO_LOCK) as disk:
            assert [(layer.filename, layer.image) for layer in disk] == [('over there', None)]
            assert manifest.verify(disk).equal
        assert storage.closed == 1
        storage.data[65536] ^= 1
        with qcbm.open_raw_storage(storage, flags=qcbm.OpenFlag.NO_LOCK) as disk:
            assert not manifest.verify(disk).equal
    with pytest.raises(qcbm.BadArgument):
        qcbm.open_raw_storage(storage, flags=qcbm.OpenFlag.WRITE)
    assert storage.closed == 3


def test_storage_of_ones_own_as_what_a_disk_held(overlay, tmp_path):
    held = Bytes(bytes(4 << 20))
    held.data[65536:65536 + 4096] = b'\7' * 4096  # as the overlay has it; 1M .. 1M + 128k differs
    with qcbm.Image(overlay, qcbm.OpenFlag.WRITE) as image:
        image.synth('b0', refine=qcbm.Refine.CONTENT, refine_against='memory', refine_format='raw', refine_ops=held)
        assert dirty(image) == EXPECTED[1:2]
    assert held.closed == 0
    assert qcbm.probe_storage(held) == 'raw' and qcbm.probe_storage(Bytes(open(overlay, 'rb').read())) == 'qcow2'
    held.data[0:4] = b'KDMV'
    assert qcbm.probe_storage(held) == 'vmdk' and held.closed == 0


def test_layers_are_named(overlay, tmp_path):
    run('qemu-img', 'create', '-q', '-f', 'qcow2', tmp_path / 'base', '4M')
    run('qemu-io', '-f', 'qcow2', '-c', 'write -q -P 9 3M 64k', tmp_path / 'base')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'lost', '-F', 'qcow2', '-u', tmp_path / 'mid', '4M')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'lost too', '-F', 'qcow2', '-u', tmp_path / 'top', '4M')
    mid = Bytes((tmp_path / 'mid').read_bytes())
    with qcbm.open_storage(Bytes((tmp_path / 'top').read_bytes())) as image:
        image.set_name('the top')
        image.set_below([(mid, 'the middle'), tmp_path / 'base'])
        with image.chain() as chain:
            assert [layer.filename for layer in chain] == ['the top', 'the middle', str(tmp_path / 'base')]
        assert image.read(3 << 20, 4) == b'\x09' * 4
        image.set_below([tmp_path / 'base', 'surplus'])
        with pytest.raises(qcbm.BrokenChain, match='surplus'):
            image.chain()
    assert mid.closed == 0


def test_manners(marked, tmp_path):
    program = 'import qcbm, sys; qcbm.set_manners(qcbm.MannersFlag.NO_CACHE, 1 << 30); qcbm.Image(sys.argv[1]).close()'
    run('strace', '-o', tmp_path / 'trace', '-e', 'trace=fadvise64', sys.executable, '-c', program, marked)
    assert 'POSIX_FADV_DONTNEED' in (tmp_path / 'trace').read_text()


def test_low_level(marked, tmp_path):
    assert qcbm.probe(marked) == 'qcow2'
    assert qcbm.same_file(marked, os.path.join(os.path.dirname(marked), '.', 'overlay.qcow2'))
    assert qcbm.local_name('file:x') == 'x' and qcbm.local_name('nbd:x') is None
    assert qcbm.code_name(-9) == 'QCBM_E_NOTFOUND'
    assert [p.id for p in qcbm.problems()] == list(qcbm.ProblemId)
    with qcbm.Dump(marked) as dump:
        items = {item.name: item for item in dump.part(qcbm.DumpKind.HEADER)}
        assert items['size'].value == 4194304
    events = []
    with qcbm.Image(marked) as image:
        image.set_trace(events.append)
        dirty(image)
        assert qcbm.TraceKind.READ in {e.kind for e in events}
    with qcbm.Image.open_fd(os.open(marked, os.O_RDONLY)) as image:
        assert image.bitmaps[0].name == 'b0'
    assert qcbm.rescue(marked, tmp_path / 'rescued.qcow2').unknown == 0
    with open(tmp_path / 'raw', 'wb') as f:
        f.truncate(1 << 20)
    qcbm.attach(tmp_path / 'raw', tmp_path / 'meta', bitmap='b')
    with qcbm.Image(tmp_path / 'meta') as image:
        assert image.verify_attached().faults == 0


def test_an_older_library_is_refused(tmp_path):
    source = tmp_path / 'old.c'
    source.write_text('const char *qcbm_version(void) { return "0.0.9"; }')
    run('cc', '-shared', '-fPIC', '-o', tmp_path / qcbm.SONAME, source)
    result = subprocess.run([sys.executable, '-c', 'import qcbm'], capture_output=True, text=True,
                            env={**os.environ, 'LD_LIBRARY_PATH': str(tmp_path)})
    assert result.returncode == 1 and 'is 0.0.9' in result.stderr


def example(name, *arguments):
    return run(sys.executable, os.path.join(os.path.dirname(__file__), '..', 'examples', name), *arguments)


def test_example_backup_of_a_chain(overlay, tmp_path):
    assert example('backup_chain.py', overlay, 'b', tmp_path / 'copy') == '196608 bytes copied\n'
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 3M 64k', '-c', 'write -z 1M 64k', overlay)
    assert example('backup_chain.py', overlay, 'b', tmp_path / 'copy') == '131072 bytes copied\n'
    run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', overlay, tmp_path / 'copy')
    assert example('backup_chain.py', overlay, 'b', tmp_path / 'copy') == '0 bytes copied\n'


def test_example_csi_lister(marked):
    said = example('csi_lister.py', 'delta', marked, 'b0', '--max-results', '2')
    lines = [json.loads(line) for line in said.splitlines()]
    assert [len(line['block_metadata']) for line in lines] == [2, 1]
    ranges = [(r['byte_offset'], r['size_bytes']) for line in lines for r in line['block_metadata']]
    assert ranges == EXPECTED and {line['volume_capacity_bytes'] for line in lines} == {4194304}
    rest = json.loads(example('csi_lister.py', 'allocated', marked, '--starting-offset', '1114112'))
    assert [(r['byte_offset'], r['size_bytes']) for r in rest['block_metadata']] == [(1114112, 65536), (2097152, 65536)]


def test_what_is_in_use_is_not_closed(marked):
    with qcbm.Image(marked) as image, image.chain() as chain, image.extents('b0') as extents:
        for call in (lambda: image.check(progress=lambda done, total: image.close()),
                     lambda: image.export('b0', lambda piece: image.close()),
                     lambda: image.extents_into('b0', lambda extent: image.close()),
                     lambda: chain.write_manifest(lambda piece: image.close()),
                     lambda: chain.map_into(lambda entry: chain.close())):
            with pytest.raises(ValueError, match='in use'):
                call()
        assert len(list(extents)) == 7 and image.check().corruptions == 0


def test_nothing_is_not_a_name(marked, tmp_path):
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image, image.edit() as edit:
        for call in (lambda: qcbm.Image(None), lambda: image.extents(None), lambda: image.map_into(None),
                     lambda: image.export('b0', None), lambda: edit.add(None), lambda: edit.synth(None, 'x'),
                     lambda: qcbm.apply(None, []), lambda: qcbm.apply(marked, [None]), lambda: qcbm.apply(marked, 'ab'),
                     lambda: image.export('b0', 3)):
            with pytest.raises(TypeError):
                call()
        edit.close()


def test_what_the_library_points_to_stays(marked):
    data = open(marked, 'rb').read()
    image = qcbm.Memory(data).open()
    image.set_trace(lambda event: None)
    image.set_trace(None)
    del data
    gc.collect()
    assert image.check().corruptions == 0
    image.close()
    numbers = array.array('I', [1] * 1000)
    assert qcbm.Memory(numbers).data == numbers.tobytes()


class Ring:
    """Garbage that is collected as a whole, in an order that nobody chooses."""

    def __init__(self, *handles):
        self.ring, self.handles = self, handles


def test_garbage_is_closed_from_its_leaves(marked, monkeypatch):
    closed = []
    function = qcbm._call._function
    monkeypatch.setattr(qcbm._call, '_function', lambda name: closed.append(name) or function(name))

    def drop(make):
        closed.clear()
        make()
        gc.collect()
        return [name for name in closed if name.endswith(('_close', '_free'))]

    def edit():
        image = qcbm.Image(marked, qcbm.OpenFlag.WRITE)
        Ring(image, image.edit())

    def chain():
        image = qcbm.Image(marked)
        layers = image.chain()
        Ring(image, layers, layers[0])

    assert drop(edit) == ['qcbm_edit_free', 'qcbm_close']
    assert drop(chain) == ['qcbm_chain_close', 'qcbm_close']


def test_a_page_stays_when_the_image_is_closed(marked):
    image = qcbm.Image(marked)
    expected = list(image.map())
    entries = image.map()
    first = next(entries)
    image.close()
    with pytest.raises(ValueError):  # the chain of the iterator is closed with the image
        list(entries)
    image, chain = qcbm.Image(marked), None
    chain = image.chain()
    entries = chain.map()
    first = next(entries)
    chain.close()
    image.close()
    page = []
    with pytest.raises(ValueError):
        page.extend(entries)
        page.append(None)
    assert first == expected[0]


def test_an_edit_that_is_lost_is_told(marked):
    image = qcbm.Image(marked, qcbm.OpenFlag.WRITE)
    with pytest.raises(ValueError, match='nothing is changed'):
        with image.edit() as edit:
            edit.add('x')
            image.close()
    with qcbm.Image(marked, qcbm.OpenFlag.WRITE) as image, image.edit() as edit:
        edit.add('x')
        edit.close()  # given up
    assert [b.name for b in qcbm.Image(marked).bitmaps] == ['b0']


class Raising:
    def __init__(self, path, what):
        self.data, self.what, self.calm = open(path, 'rb').read(), what, True

    def size(self):
        return len(self.data)

    def read_at(self, offset, length):
        if not self.calm:
            raise self.what
        return self.data[offset:offset + length]


@pytest.mark.parametrize('what', [KeyboardInterrupt(), SystemExit(3), ZeroDivisionError('x')])
def test_what_storage_raises_is_the_cause(marked, what):
    storage = Raising(marked, what)
    image = qcbm.open_storage(storage)
    storage.calm = False
    with pytest.raises(BaseException) as caught:
        image.extents('b0', flags=0)
        image.edit()
        image.read(0, 4096)
    raised = caught.value if not isinstance(what, Exception) else caught.value.__cause__
    assert raised is what
    assert not isinstance(what, Exception) or isinstance(caught.value, qcbm.IOFailed)


def one_round(path):
    with qcbm.Image(path, qcbm.OpenFlag.WRITE) as image:
        image.synth('b0', flags=qcbm.SynthFlag.REPLACE)
        list(image.extents('b0', flags=qcbm.ExtentsFlag.ZERO))  # nobody closes it
        list(image.map())
        image.check()
        image.report()
        with image.chain() as chain:
            chain.write_manifest(lambda piece: None)
        with pytest.raises(ZeroDivisionError):
            with image.edit() as edit:
                edit.add('x')
                1 / 0
    with pytest.raises(qcbm.Error):
        qcbm.Image('/nowhere')
    qcbm.Image(path).extents('b0')  # neither of these


def resident():
    return int(open('/proc/self/statm', encoding='ascii').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def test_pip_installs_it_without_a_network(tmp_path):
    source = tmp_path / 'source'  # setup writes beside it
    run('cp', '-r', os.path.join(ROOT, 'bindings', 'python'), source)
    env = {**os.environ, 'QCBM_HEADERS': os.path.join(ROOT, 'libqcbm', 'include'), 'PYTHONPATH': ''}
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-build-isolation', '--no-index', '--no-deps',
                    '--root-user-action=ignore', '--target', str(tmp_path / 'site'), str(source)], check=True, env=env)
    env['PYTHONPATH'] = str(tmp_path / 'site')
    out = subprocess.run([sys.executable, '-c', 'import qcbm; print(qcbm.__file__, qcbm.__version__)'], check=True,
                         capture_output=True, text=True, env=env, cwd=tmp_path).stdout
    assert out.split() == [str(tmp_path / 'site' / 'qcbm' / '__init__.py'), qcbm.VERSION]


USER = """import qcbm

with qcbm.Image('disk.qcow2') as image, image.extents('b0') as extents, image.edit() as edit:
    size: int = image.info.virtual_size
    image.info.no_such_field  # type: ignore[attr-defined]
    extents.no_such_method()  # type: ignore[attr-defined]
    edit.clear(1)  # type: ignore[arg-type]
"""


def test_types_are_right(tmp_path):
    """Of the package, and of a program that uses it: strict also says of an "ignore" that there is nothing to ignore."""
    package = os.path.dirname(qcbm.__file__)
    config = os.path.join(ROOT, 'bindings', 'python', 'pyproject.toml')
    (tmp_path / 'user.py').write_text(USER, encoding='utf-8')
    subprocess.run([sys.executable, '-m', 'mypy', '--config-file', config, '--cache-dir', os.devnull, os.path.basename(package),
                    str(tmp_path / 'user.py')], check=True, cwd=os.path.dirname(package))


def test_nothing_is_left_behind(overlay):
    for _ in range(30):
        one_round(overlay)
    gc.collect()
    descriptors, before = len(os.listdir('/proc/self/fd')), resident()
    for _ in range(100):
        one_round(overlay)
    gc.collect()
    assert len(os.listdir('/proc/self/fd')) == descriptors
    assert resident() - before < 2 << 20  # 20 KiB a round would be seen
