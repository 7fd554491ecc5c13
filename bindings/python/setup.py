"""setup.py - package qcbm; its declarations are made of the headers of this tree, or of the installed ones

SPDX-License-Identifier: MIT

pip install --no-build-isolation --no-index .     no network, and no compiler
"""
import os
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


def headers():
    """Folder of qcbm.h: named, in the tree, or where pkg-config says."""
    for folder in (os.environ.get('QCBM_HEADERS'), os.path.join(HERE, '..', '..', 'libqcbm', 'include')):
        if folder and os.path.exists(os.path.join(folder, 'qcbm.h')):
            return folder
    out = subprocess.run(['pkg-config', '--variable=includedir', 'libqcbm'], check=True, capture_output=True, text=True)
    return out.stdout.strip()


def version():
    """That of the header."""
    words = [line.split() for line in open(os.path.join(headers(), 'qcbm.h'), encoding='utf-8')]
    return '.'.join(w[2] for w in words if w[:1] == ['#define'] and w[1].startswith('QCBM_VERSION_'))


class Declare(build_py):
    def run(self):
        super().run()
        package = os.path.join(self.build_lib, 'qcbm')
        self.mkpath(package)
        subprocess.run([sys.executable, os.path.join(HERE, 'declare.py'), headers(), package], check=True)


setup(
    name='qcbm',
    version=version(),
    description='qcow2 images and their dirty bitmaps, offline',
    license='MIT',
    python_requires='>=3.9',
    install_requires=['cffi'],
    packages=['qcbm'],
    package_data={'qcbm': ['py.typed']},
    cmdclass={'build_py': Declare},
)
