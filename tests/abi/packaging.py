#!/usr/bin/env python3
"""packaging.py ROOT BUILD - packages say the version of the header, and have each installed file once

SPDX-License-Identifier: MIT

What is in them is proven by packaging/chroot.sh, which takes minutes.
"""
import fnmatch
import glob
import json
import os
import re
import subprocess
import sys


def text_of(root, path):
    with open(os.path.join(root, 'packaging', path), encoding='utf-8') as f:
        return f.read()


def patterns_of(root):
    """Of each package of Debian: what its .install file takes."""
    found = {}
    for path in glob.glob(os.path.join(root, 'packaging', 'debian', '*.install')):
        with open(path, encoding='utf-8') as f:
            found[os.path.basename(path)] = [line.split()[0] for line in f if line.strip()]
    return found


def introspected(build, what):
    with open(os.path.join(build, 'meson-info', f'intro-{what}.json'), encoding='utf-8') as f:
        return json.load(f)


def installed(build):
    """As a package of Debian has it: below usr/, and libraries in a folder of the machine."""
    prefix = next(o['value'] for o in introspected(build, 'buildoptions') if o['name'] == 'prefix')
    for path in introspected(build, 'installed').values():
        path = 'usr/' + os.path.relpath(path, prefix)
        yield re.sub(r'^usr/lib(64)?/(?=libqcbm|pkgconfig)', 'usr/lib/machine/', path).replace(
            'zsh/site-functions', 'zsh/vendor-completions')


def main(root, build):
    bad = []
    version = subprocess.run([os.path.join(root, 'scripts', 'version.sh')], check=True, capture_output=True,
                             text=True).stdout.strip()
    if not text_of(root, 'debian/changelog').startswith(f'qcbm ({version}-'):
        bad.append(f'packaging/debian/changelog does not begin with {version}')
    if not re.search(rf'^Version: *{re.escape(version)}$', text_of(root, 'rpm/qcbm.spec'), re.M):
        bad.append(f'packaging/rpm/qcbm.spec is not of {version}')
    with open(os.path.join(root, 'libqcbm', 'qcbm.map'), encoding='utf-8') as f:
        nodes = re.findall(r'^(QCBM_[\d.]+) ', f.read(), re.M)
    for node in nodes:
        if f'(symver){node} ' not in text_of(root, 'debian/libqcbm0.symbols'):
            bad.append(f'packaging/debian/libqcbm0.symbols does not have {node}')
    patterns = patterns_of(root)
    seen = 0
    for path in installed(build):
        seen += 1
        owners = [package for package, names in patterns.items()
                  if any(fnmatch.fnmatch(path, n) or path.startswith(n + '/') for n in names)]
        if len(owners) != 1:
            bad.append(f'{path} is in {owners or "no package of Debian"}')
    print('\n'.join(bad) or f'{seen} files')
    return 1 if bad or seen < 40 else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
