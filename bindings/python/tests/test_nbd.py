"""Images and disks behind NBD servers: what is told is what the file says, and what QEMU's own client is told

SPDX-License-Identifier: MIT
"""
import errno
import gc
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

import qcbm
from conftest import EXPECTED, ROOT, dirty, run

NO_LOCK = qcbm.OpenFlag.NO_LOCK
MIB = 1 << 20


class Server:
    """A program that serves on a socket, and is there when this returns."""

    def __init__(self, tmp_path, *argv):
        number = len(list(tmp_path.glob('socket*')))
        self.socket, pid = tmp_path / f'socket{number}', tmp_path / f'pid{number}'
        argv = [str(a).replace('SOCKET', str(self.socket)).replace('PID', str(pid)) for a in argv]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.uri = f'nbd+unix:///?socket={self.socket}'
        while not (pid.exists() and pid.stat().st_size):
            assert self.process.poll() is None
            time.sleep(0.002)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def serve(tmp_path):
    """Of a file its bytes, or with a format the disk that is in it."""
    servers = []

    def start(path, *words):
        if words:
            argv = ['qemu-nbd', '-r', '-t', '-e', '8', '-k', 'SOCKET', '--pid-file', 'PID', *words, path]
        else:
            argv = ['nbdkit', '-f', '-r', '-U', 'SOCKET', '-P', 'PID', 'file', path]
        servers.append(Server(tmp_path, *argv))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def everything(image):
    """What there is to say of an image; not where clusters that are in use have holes, which no server tells."""
    with image.chain() as chain, image.extents('b0', flags=qcbm.ExtentsFlag.ZERO) as extents:
        chain.write_manifest(lambda piece: None)
        return (image.info.virtual_size, image.bitmaps, list(extents), image.check(), image.read(0, 4 * MIB),
                [(layer.virtual_size, layer.format) for layer in chain])


def test_an_image_behind_a_server_is_its_file(marked, serve):
    run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', '', marked)
    with qcbm.Image(marked) as image:
        want = everything(image)
    server = serve(marked)
    with qcbm.open_nbd(server.uri, NO_LOCK, in_flight=16) as image:
        assert everything(image) == want
        with image.chain() as chain:
            assert chain[0].filename == server.uri
    with qcbm.Nbd(server.uri) as storage:
        assert storage.size == os.path.getsize(marked)
        for _ in range(2):  # it stays open
            with storage.open(NO_LOCK) as image:
                assert dirty(image) == EXPECTED
        assert qcbm.probe_storage(storage) == 'qcow2'
        with qcbm.dump_storage(storage, NO_LOCK) as dump, qcbm.Dump(marked) as other:
            assert dump.part(qcbm.DumpKind.HEADER) == other.part(qcbm.DumpKind.HEADER)
        assert 0 < storage.figures.read_bytes < storage.size and storage.figures.reads > 0


def test_an_overlay_and_what_is_below_it(marked, serve):
    with qcbm.Image(marked) as image:
        want = everything(image)
    base = os.path.join(os.path.dirname(marked), 'base.qcow2')
    top = qcbm.open_nbd(serve(marked).uri, NO_LOCK)
    with pytest.raises(qcbm.BrokenChain):
        top.chain()
    below = qcbm.Nbd(serve(base).uri)
    top.set_below([(below, 'the base')])
    with top.chain() as chain:
        assert [layer.filename for layer in chain][1:] == ['the base']
    assert everything(top) == want
    below.close()
    with pytest.raises(ValueError):  # closed with what it reads
        top.info


def test_disks_as_they_are(marked, serve, tmp_path):
    server = serve(marked, '-f', 'qcow2')
    with qcbm.Image(marked) as image, image.chain() as chain, open(tmp_path / 'm', 'wb') as f:
        chain.write_manifest(f.write)
    with qcbm.Nbd(server.uri) as storage, qcbm.Manifest(tmp_path / 'm') as manifest:
        with storage.open_raw(NO_LOCK) as disk:
            assert manifest.verify(disk).equal and disk[0].filename == server.uri
        assert storage.size == 4 * MIB
        shutil.copy(marked, tmp_path / 'copy')  # whose content is what the server has, all of it
        with qcbm.Image(tmp_path / 'copy', qcbm.OpenFlag.WRITE | NO_LOCK) as image:
            image.synth('b1', refine=qcbm.Refine.CONTENT, refine_against='there', refine_format='raw',
                        refine_ops=storage)
            assert dirty(image, 'b1') == []
    with qcbm.manifest_in_storage(qcbm.Nbd(serve(tmp_path / 'm').uri)) as manifest:
        assert manifest.info.size == 4 * MIB


def test_contexts(marked, serve, tmp_path):
    server = serve(marked, '-f', 'qcow2', '-B', 'b0', '-A')
    name = qcbm.NBD_DIRTY_BITMAP + 'b0'
    run('qemu-img', 'create', '-q', '-f', 'qcow2', tmp_path / 'target', '4M')
    with qcbm.Nbd(server.uri, context=name) as storage:
        assert storage.has_context(name) and storage.has_context(qcbm.NBD_ALLOCATION)
        assert not storage.has_context(qcbm.NBD_DEPTH)
        with qcbm.Image(tmp_path / 'target', qcbm.OpenFlag.WRITE) as image, image.edit() as edit:
            edit.add('b0')
            for offset, length, flags in storage.extents(name):
                if flags:
                    edit.set_range('b0', offset, length)
        for context in (name, qcbm.NBD_ALLOCATION):
            said = json.loads(run('nbdinfo', '--json', '--map=' + context, server.uri))
            assert storage.extents(context) == [(e['offset'], e['length'], e['type']) for e in said]
        data = [e[:2] for e in storage.extents(qcbm.NBD_ALLOCATION) if not e[2] & qcbm.NbdState.ZERO]
        assert data[-1] == EXPECTED[1]
        with pytest.raises(qcbm.BadArgument, match='not asked for'):
            storage.extents(qcbm.NBD_DEPTH)
        with pytest.raises(ZeroDivisionError):
            storage.extents_into(name, lambda offset, length, flags: 1 / 0)
        with pytest.raises(ValueError, match='in use'):
            storage.extents_into(name, lambda *extent: storage.close())
    with qcbm.Image(tmp_path / 'target') as image:
        assert dirty(image) == EXPECTED
    with pytest.raises(ValueError):
        storage.size


def test_what_is_refused(marked, serve, tmp_path):
    server = serve(marked)
    with pytest.raises(qcbm.NoLocks, match='no lock reaches'):
        qcbm.open_nbd(server.uri)
    with pytest.raises(qcbm.ReadOnly), qcbm.open_nbd(server.uri, NO_LOCK | qcbm.OpenFlag.WRITE) as image:
        image.synth('b1')
    with pytest.raises(qcbm.NotFound, match='no context'):
        qcbm.Nbd(server.uri, context='qemu:dirty-bitmap:none')
    with pytest.raises(qcbm.BadArgument, match='no URI'):
        qcbm.open_nbd(marked, NO_LOCK)
    with pytest.raises(qcbm.IOFailed) as caught:
        qcbm.open_nbd(f'nbd+unix:///?socket={tmp_path}/nobody', NO_LOCK)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(TypeError):
        qcbm.Nbd(server.uri, locks=True)
    image = qcbm.open_nbd(server.uri, NO_LOCK)
    server.stop()
    with pytest.raises(qcbm.IOFailed, match='NBD server: ') as caught:
        image.check()
    assert caught.value.code == qcbm.Code.E_IO and caught.value.errno
    image.close()


def test_options_of_other_versions(marked, serve):
    """Longer ones of a later header are taken as long as nothing is set in what is new, shorter ones have defaults."""
    options, size = qcbm.ffi.new('struct qcbm_nbd_options[16]'), qcbm.ffi.sizeof('struct qcbm_nbd_options')
    out, err, uri = qcbm.ffi.new('struct qcbm_nbd **'), qcbm.ffi.new('struct qcbm_error *'), serve(marked).uri.encode()
    for length, more, code in ((size, 1, 0), (8, 1, 0), (size + 8, 0, 0), (2 * size, 0, 0), (7, 0, qcbm.Code.E_ARG),
                               (size + 8, 1, qcbm.Code.E_UNSUPPORTED), (2 * size, 1, qcbm.Code.E_UNSUPPORTED),
                               (size + 256, 0, 0), (size + 257, 0, qcbm.Code.E_ARG)):
        options[0].struct_size = length
        qcbm.ffi.buffer(options)[min(length, 2 * size) - 1 if length > size else size] = bytes([more])
        code_now = qcbm.nbd_lib().qcbm_nbd_open(uri, options, out, err)
        qcbm.ffi.buffer(options)[size:] = bytes(15 * size)
        assert code_now == code, (length, more)
        assert (out[0] != qcbm.ffi.NULL) == (code == 0)
        qcbm.nbd_lib().qcbm_nbd_close(out[0])
    with qcbm.Nbd(uri, in_flight=1000, memory=1, timeout_ms=2**32 - 1) as storage:
        with storage.open(NO_LOCK) as image:
            image.check()
        figures = qcbm.ffi.new('struct qcbm_nbd_figures[2]')
        qcbm.ffi.buffer(figures)[:] = b'x' * 64
        qcbm.nbd_lib().qcbm_nbd_get_figures(storage.pointer, figures, 16)
        assert figures[0].read_bytes == storage.figures.read_bytes and bytes(qcbm.ffi.buffer(figures))[16:] == b'x' * 48
        qcbm.nbd_lib().qcbm_nbd_get_figures(storage.pointer, figures, 64)
        assert figures[0].most_in_flight <= 64 and bytes(qcbm.ffi.buffer(figures))[32:] == bytes(32)


def test_nothing_is_left_open(marked, serve):
    server = serve(marked)

    def here():
        gc.collect()
        return len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))

    def one_round():
        with qcbm.open_nbd(server.uri, NO_LOCK) as image:
            image.check()
        qcbm.open_nbd(server.uri, NO_LOCK).info  # nobody closes it
        with qcbm.Nbd(server.uri) as storage:
            left = storage.open(NO_LOCK)
            left.check()
        with pytest.raises(ValueError):
            left.info
        with pytest.raises(qcbm.NoLocks):
            qcbm.open_nbd(server.uri)
        qcbm.Nbd(server.uri).open(NO_LOCK).extents('b0')  # neither of the three
        ring = [qcbm.Nbd(server.uri)]  # the server may come first when they are finalised; Ring of test_qcbm.py
        ring += [ring[0].open(NO_LOCK), ring]

    one_round()
    before = here()
    for _ in range(5):
        one_round()
    assert here() == before


def outcome_of(program, **env):
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, env={**os.environ, **env})


def test_the_library_is_loaded_when_it_is_needed(marked, serve, tmp_path):
    folders = os.environ['LD_LIBRARY_PATH'].split(':')  # in no certain order
    shutil.copy(next(f for f in (os.path.join(folder, qcbm.SONAME) for folder in folders) if os.path.exists(f)), tmp_path)
    program = f'''
import qcbm
qcbm.Image({marked!r}).check()
loaded = lambda: 'nbd.so' in open('/proc/self/maps').read()
assert not loaded()
try:
    qcbm.open_nbd({serve(marked).uri!r}, qcbm.OpenFlag.NO_LOCK).check()
    assert loaded()
except ImportError as e:
    print(e)
'''
    result = outcome_of(program)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    result = outcome_of(program, LD_LIBRARY_PATH=str(tmp_path))
    assert result.returncode == 0 and result.stdout.startswith(qcbm.NBD_SONAME + ' is not there')


def test_a_package_without_its_header_says_so(tmp_path):
    os.mkdir(tmp_path / 'headers')
    for name in os.listdir(f'{ROOT}/libqcbm/include'):
        shutil.copy(f'{ROOT}/libqcbm/include/{name}', tmp_path / 'headers')
    assemble, source = f'{ROOT}/bindings/python/assemble.py', f'{ROOT}/bindings/python/qcbm'
    run(sys.executable, assemble, f'{ROOT}/bindings/python/declare.py', tmp_path / 'headers', source,
        tmp_path / 'site' / 'qcbm', tmp_path / 'stamp')
    result = outcome_of('import qcbm; qcbm.Nbd("nbd://x")', PYTHONPATH=str(tmp_path / 'site'))
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith('ImportError: package qcbm was made')
