"""What the other tests do not call: each method once, with an answer that somebody else gives

SPDX-License-Identifier: MIT
"""
import json
import os

import pytest

import qcbm
from conftest import EXPECTED, ROOT, Bytes, dirty, run

WRITE = qcbm.OpenFlag.WRITE
GUEST = ('qemu-io', '-f', 'qcow2', '-c')
MIB = 1 << 20


def changed(path, *edits):
    return qcbm.edit_fields(path, edits, flags=WRITE)


@pytest.fixture
def in_use(marked):
    """As a power cut leaves it."""
    result = changed(marked, 'bitmap b0 flags: 2=3')
    assert result.opens_after and result.writes == 1
    return marked


@pytest.fixture
def manifest(overlay, tmp_path):
    """Of the disk before its second write."""
    with qcbm.Image(overlay) as image, image.chain() as chain, open(tmp_path / 'manifest', 'wb') as f:
        chain.write_manifest(f.write)
    return str(tmp_path / 'manifest')


def test_bits(marked):
    told = []
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        edit.set_progress(lambda done, total: told.append(total))
        edit.copy('b1', 'b0')
        edit.unset_range('b1', MIB, 131072)
        assert edit.look('b1').dirty_bytes == 131072
        edit.copy('b2', 'b0')
        edit.subtract('b2', 'b1')
        edit.copy('b3', 'b0')
        edit.intersect('b3', 'b1')
        edit.rename('b3', 'b4')
        edit.disable('b4')
        edit.disable('b1')
        edit.enable('b1')
    with qcbm.Image(marked) as image:
        assert [(b.name, b.enabled) for b in image.bitmaps] == [('b0', True), ('b1', True), ('b2', True), ('b4', False)]
        assert dirty(image, 'b2') == EXPECTED[1:2] and dirty(image, 'b1') == dirty(image, 'b4') == EXPECTED[::2]
    assert told


def test_tag(marked):
    def tag():
        with qcbm.Image(marked) as image:
            return image.info.tag

    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        edit.set_tag('00112233445566778899aabbccddeeff')
    assert bytes.fromhex('7163544700000010' + tag()) in open(marked, 'rb').read(65536)
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        edit.set_tag()
    assert len(tag()) == 32 and tag() != '00112233445566778899aabbccddeeff'
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        edit.remove_tag()
    with qcbm.Image(marked) as image:
        assert image.info.tag is None and dirty(image) == EXPECTED


def test_bits_of_a_disk_that_has_grown(marked, tmp_path):
    run('qemu-img', 'create', '-q', '-f', 'qcow2', tmp_path / 'large', '5M')
    with qcbm.Image(marked) as small, qcbm.Image(tmp_path / 'large', WRITE) as image:
        with image.edit() as edit:
            edit.copy_grown('b0', 'b0', small)
            edit.add('b1')
            edit.merge_grown('b1', 'b0', small)
        assert dirty(image) == dirty(image, 'b1') == [*EXPECTED, (4 * MIB, MIB)]


def test_bitmaps_of_all_layers(marked, tmp_path):
    top = str(tmp_path / 'top.qcow2')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', marked, '-F', 'qcow2', top)
    run(*GUEST, 'write 3M 64k', top)
    with qcbm.Image(top, WRITE) as image:
        image.synth('b0')
        layers, again = [], []
        with image.edit() as edit:
            edit.collect('b0', 'all', layers.append)
            edit.collect('b0', fn=again.append)  # into the top's own
        everything = [*EXPECTED, (3 * MIB, 65536)]
        assert dirty(image, 'all') == dirty(image) == everything
        assert [os.path.basename(c.filename) for c in layers if c.has] == ['top.qcow2', 'overlay.qcow2']
        assert again == layers
    told = []
    with qcbm.Image(top) as image, qcbm.Image(marked, WRITE) as base, base.edit() as edit:
        edit.commit_bitmaps(image, told.append)
    with qcbm.Image(marked) as base:
        assert {c.name for c in told} == {'b0', 'all'} and dirty(base) == everything


def test_bitmaps_that_were_left_in_use(in_use, manifest):
    said = []
    with qcbm.Image(in_use, WRITE) as image:
        assert image.bitmaps[0].in_use
        with image.edit() as edit:
            edit.revive('b0', qcbm.ReviveFlag.TRUST, said.append)
        assert dirty(image) == EXPECTED and said[0].claim == qcbm.ReviveClaim.TRUSTED
    changed(in_use, 'bitmap b0 flags: 2=3')
    run(*GUEST, 'write -P 9 3M 64k', in_use)
    with qcbm.Image(in_use, WRITE) as image, image.edit() as edit:
        edit.revive_against('b0', manifest, said.append)
        edit.revive(None)
    with qcbm.Image(in_use) as image:
        assert dirty(image) == [(3 * MIB, 65536)]


def test_a_copy_is_the_disk(marked, manifest):
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        assert edit.check_copy('b0', manifest, 7).different_bytes == 0
        edit.close()
    run(*GUEST, 'write -P 9 1M 64k', marked)
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        with pytest.raises(qcbm.Unsafe):
            edit.check_copy('b0', manifest)
        edit.close()


def test_a_manifest_goes_on(overlay, manifest, tmp_path):
    with qcbm.Image(overlay, WRITE) as image, image.edit() as edit:
        edit.add('b0')
    run(*GUEST, 'write -P 9 3M 64k', overlay)  # which QEMU records
    pieces, whole = [], []
    with qcbm.Image(overlay) as image, image.chain() as chain, qcbm.Manifest(manifest) as old:
        old.update(chain, image, 'b0', pieces.append)
        chain.write_manifest(whole.append)
    storage = Bytes(b''.join(pieces))
    with qcbm.manifest_in_storage(storage) as new, qcbm.Image(overlay) as image, image.chain() as chain:
        assert new.verify(chain).equal
    assert storage.closed == 1 and len(b''.join(whole)) == len(storage.data)
    qcbm.load_digest(qcbm.Digest.XXH3)


def test_damaged_bitmaps_are_mended(marked):
    with qcbm.Image(marked) as image:
        entry = image.bitmaps[0].entry_offset
    with open(marked, 'r+b') as f:
        f.seek(entry)
        f.write((0x12345).to_bytes(8, 'big'))  # its table is not aligned
    with qcbm.Image(marked) as image:
        found = image.findings
        assert found and list(image.each_finding()) == found
        assert image.verdict().harmless is False
    rows = []
    with qcbm.Image(marked, WRITE) as image, image.mend(rows.append) as edit:
        edit.add('b1')
    assert rows
    with qcbm.Image(marked) as image:
        assert image.check().corruptions == 0 and {b.name for b in image.bitmaps} >= {'b1'}


def test_repair(marked):
    before = open(marked, 'rb').read()
    assert not changed(marked, f'refcount {len(before) // 65536 - 1}: 1=2').worse  # a leak
    rows = []
    with qcbm.Image(marked, WRITE) as image:
        done = image.repair(level=qcbm.RepairLevel.LEAKS, row=rows.append)
        assert (done.leaks_fixed, done.rows) == (1, 1) and len(rows) == 1
    assert open(marked, 'rb').read() == before
    run('qemu-img', 'check', '-q', marked)


def test_fields_are_set_and_put_back(marked):
    said = []
    before = open(marked, 'rb').read()
    changed(marked, 'bitmap b0 flags: 2=0')
    with qcbm.Image(marked) as image:
        assert not image.bitmaps[0].enabled
    storage = Bytes(open(marked, 'rb').read())
    assert qcbm.edit_fields_in_storage(storage, ['bitmap b0 flags: 0=2'], field=said.append).sectors == 1
    assert bytes(storage.data) == before and storage.closed == 1 and len(said) == 1
    with qcbm.dump_storage(Bytes(before)) as dump:
        assert {i.name for i in dump.part(qcbm.DumpKind.HEADER)} >= {'magic', 'size'}


def test_undo_of_an_image_by_its_name(marked, tmp_path):
    before = open(marked, 'rb').read()
    qcbm.edit_fields(marked, ['bitmap b0 flags: 2=0'], undo=tmp_path / 'u')  # which no longer records
    assert qcbm.undo(marked, tmp_path / 'u').found == qcbm.UndoFound.AFTER
    assert open(marked, 'rb').read() == before


def test_stale_bitmaps(marked):
    with qcbm.Dump(marked) as dump:
        [features] = [i.value for i in dump.part(qcbm.DumpKind.HEADER) if i.name == 'autoclear_features']
    with open(marked, 'r+b') as f:
        f.seek(88)
        f.write((features & ~1).to_bytes(8, 'big'))
    with qcbm.Image(marked) as image:
        assert image.bitmaps == [] and [(b.name, b.usable) for b in image.stale_bitmaps] == [('b0', False)]


def test_what_a_disk_takes(marked, tmp_path):
    with qcbm.Chain.open_raw(marked) as chain:
        assert len(chain) == 1
    with open(tmp_path / 'raw', 'wb') as f:
        f.truncate(MIB)
    size = qcbm.attach(tmp_path / 'raw', tmp_path / 'meta').file_size
    assert qcbm.measure_attached(MIB, 65536) == size == os.path.getsize(tmp_path / 'meta')
    assert qcbm.measure_bitmap(MIB, 65536, 65536).granules == 16
    said = json.loads(run('qemu-img', 'measure', '--output=json', '-O', 'qcow2', '--size', str(MIB)))
    assert qcbm.measure_new(MIB).required == said['required']
    with qcbm.Image(tmp_path / 'meta', WRITE) as image, image.edit() as edit:
        assert edit.reset_attached(tmp_path / 'raw').entries == 0
    with qcbm.Image(marked) as image:
        image.set_threads(1)
        assert image.check().corruptions == 0


def test_luks():
    path = f'{ROOT}/fuzz/corpus/image/luks'
    said = json.loads(run('qemu-img', 'info', '--output=json', path))['format-specific']['data']['encrypt']
    with qcbm.Image(path) as image:
        luks = image.luks()
    assert (luks.mode, luks.uuid, luks.payload_offset) == (said['cipher-mode'], said['uuid'], said['payload-offset'])


def test_domain_of_libvirt():
    text = ('<domain type="kvm"><name>d</name><uuid>u</uuid><devices><disk type="file" device="disk">'
            '<driver name="qemu" type="qcow2"/><source file="/a.qcow2"/><target dev="vda"/></disk></devices></domain>')
    with qcbm.DomainXml(text) as xml:
        assert (xml.info.name, xml.info.disks) == ('d', 1)
        [disk] = xml.disks
        assert (disk.target, disk.path, disk.use) == ('vda', '/a.qcow2', qcbm.DomainDiskUse.TAKEN)
    with pytest.raises(qcbm.Corrupt):
        qcbm.DomainXml(b'<domain/>')


def test_a_checkpoint_is_mended(marked):
    disks = [('vda', marked)]
    qcbm.create_checkpoint('c1', disks)
    with qcbm.Image(marked, WRITE) as image, image.edit() as edit:
        edit.disable('c1')
    layers, told = [], []
    assert [r.reason for r in qcbm.verify_checkpoints(disks, names=['c1']).rows] != [qcbm.CheckpointReason.VALID]
    qcbm.mend_checkpoint(disks, 'c1', flags=WRITE, layer=layers.append, disk=told.append)
    assert [qcbm.way_name(layer.way) for layer in layers] == ['union'] and len(told) == 1
    [row] = qcbm.verify_checkpoints(disks, names=['c1']).rows
    assert qcbm.reason_name(row.reason) == 'valid'
    with pytest.raises(qcbm.NotFound):
        qcbm.recover_checkpoint(marked + '.no-journal')


def test_notes_of_a_synthesis(marked):
    with qcbm.Image(marked, WRITE) as image:
        with image.edit() as edit:
            edit.disable('b0')
        [note] = image.synth('b0', flags=qcbm.SynthFlag.REPLACE).notes
        assert 'was disabled' in note


def test_what_needs_no_image():
    assert qcbm.version() == qcbm.__version__
    qcbm.set_manners()  # as it is at first
    assert qcbm.call('qcbm_local_name', 'file:a') == 'a'  # any function by its name
