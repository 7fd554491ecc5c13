"""Images that the tests work on; and after all tests: each function of the headers was called by a method

SPDX-License-Identifier: MIT
"""
import functools
import glob
import os
import re
import subprocess
import sys

import pytest

import qcbm

ROOT = os.environ['SOURCE_ROOT']
EXPECTED = [(65536, 65536), (1048576, 131072), (2097152, 65536)]  # tests/abi/examples.sh has these, too

# Of what is built without libqcbm-nbd.
collect_ignore = [] if os.environ.get('QCBM_NBD') else ['test_nbd.py']

# Functions of the headers that have no method, and why: a name, or what names begin with.
LEFT_OUT = {'qcbm_nbd_': 'of libqcbm-nbd, which is not there'} if collect_ignore else {}


class Calls:
    """The library, and what was called of it."""

    def __init__(self, lib):
        self.lib, self.seen = lib, set()

    def __getattr__(self, name):
        self.seen.add(name)
        return getattr(self.lib, name)


CALLS = Calls(qcbm.lib)
for module in list(sys.modules.values()):
    if module.__name__.startswith('qcbm.') and getattr(module, 'lib', None) is qcbm.lib:
        module.lib = CALLS


@functools.lru_cache(maxsize=None)
def nbd_calls(load=qcbm.nbd_lib):
    """What libqcbm-nbd has of functions is counted as well."""
    calls = Calls(load())
    calls.seen = CALLS.seen
    return calls


for module in list(sys.modules.values()):
    if module.__name__.startswith('qcbm.') and hasattr(module, 'nbd_lib'):
        module.nbd_lib = nbd_calls


def functions_of_the_headers():
    headers = ''.join(open(p, encoding='utf-8').read() for p in glob.glob(f'{ROOT}/libqcbm*/include/*.h'))
    return set(re.findall(r'QCBM_API [^;{}]*?\b(qcbm_\w+)\(', re.sub(r'/\*.*?\*/', '', headers, flags=re.S)))


def pytest_sessionfinish(session, exitstatus):
    """If all tests have run: some of them by name say nothing of the others."""
    folder = os.path.dirname(__file__)
    files = set(glob.glob(os.path.join(folder, 'test_*.py'))) - {os.path.join(folder, name) for name in collect_ignore}
    if exitstatus != 0 or session.config.getoption('keyword') or files != {str(i.path) for i in session.items}:
        return
    functions = functions_of_the_headers()
    left_out = {f for f in functions if f.startswith(tuple(LEFT_OUT))}
    faults = [f'{f} is neither called nor left out' for f in sorted(functions - left_out - CALLS.seen)]
    faults += [f'{f} is left out, and called' for f in sorted(left_out & CALLS.seen)]
    faults += [f'{name} is no function' for name in LEFT_OUT if not any(f.startswith(name) for f in functions)]
    print('', *faults, f'{len(functions)} functions, {len(left_out)} left out', sep='\n')
    if faults or len(functions) < 140:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def dirty(image, name='b0'):
    with image.extents(name) as extents:
        return [(offset, length) for offset, length, _ in extents.dirty()]


@pytest.fixture
def overlay(tmp_path):
    """The images of tests/abi/examples.sh."""
    base, top = tmp_path / 'base.qcow2', tmp_path / 'overlay.qcow2'
    run('qemu-img', 'create', '-q', '-f', 'qcow2', base, '4M')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top)
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 64k 4k', '-c', 'write -P 8 1M 128k', '-c', 'write -z 2M 64k', top)
    return str(top)


@pytest.fixture
def marked(overlay):
    with qcbm.Image(overlay, qcbm.OpenFlag.WRITE) as image:
        image.synth('b0')
    return overlay


class Bytes:
    """An image in a bytearray."""

    def __init__(self, data):
        self.data, self.closed = bytearray(data), 0

    def read_at(self, offset, length):
        return bytes(self.data[offset:offset + length])

    def write_at(self, offset, data):
        self.data[offset:offset + len(data)] = data

    def flush(self):
        pass

    def size(self):
        return len(self.data)

    def grow(self, length):
        self.data.extend(bytes(length - len(self.data)))

    def close(self):
        self.closed += 1
