"""assemble.py DECLARE HEADERS SOURCE PACKAGE STAMP - the package in the build folder: what is written, and what is made

SPDX-License-Identifier: MIT
"""
import glob
import os
import shutil
import subprocess
import sys

declare, headers, source, package, stamp = sys.argv[1:]
shutil.rmtree(package, ignore_errors=True)
os.makedirs(package)
for path in glob.glob(os.path.join(source, '*.py')) + [os.path.join(source, 'py.typed')]:
    if not path.endswith(('_abi.py', '_types.py')):
        shutil.copy(path, package)
subprocess.run([sys.executable, declare, headers, package], check=True, stdout=subprocess.DEVNULL)
open(stamp, 'w', encoding='ascii').close()
