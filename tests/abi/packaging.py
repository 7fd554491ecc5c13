#!/usr/bin/env python3
"""packaging.py ROOT BUILD - packages say the version of the header, know every release of the symbols and every header,
and have each installed file once

SPDX-License-Identifier: MIT

What is in them is proven by packaging/chroot.sh, which takes minutes.
"""
import ast
import fnmatch
import glob
import json
import os
import re
import subprocess
import sys

ROOT, BUILD = sys.argv[1:]
bad = []


def text_of(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def introspected(what):
    with open(os.path.join(BUILD, 'meson-info', f'intro-{what}.json'), encoding='utf-8') as f:
        return json.load(f)


def installed():
    """Below usr/, libraries in usr/lib."""
    prefix = next(o['value'] for o in introspected('buildoptions') if o['name'] == 'prefix')
    for path in introspected('installed').values():
        path = 'usr/' + os.path.relpath(path, prefix)
        yield re.sub(r'^usr/lib(64)?/([^/]+-linux-[^/]+/)?(?=libqcbm|pkgconfig)', 'usr/lib/', path)


def check_version(version):
    if not text_of('packaging/debian/changelog').startswith(f'qcbm ({version}-'):
        bad.append(f'packaging/debian/changelog does not begin with {version}')
    if not re.search(rf'^Version: *{re.escape(version)}$', text_of('packaging/rpm/qcbm.spec'), re.M):
        bad.append(f'packaging/rpm/qcbm.spec is not of {version}')


def check_symbols(version, name, version_script):
    """Programs depend on the release of the newest node that they use: the package knows all nodes, and what is new does
    not get into the node of a release that is out, as a wildcard there would have it."""
    path = f'packaging/debian/{name}0.symbols'
    nodes = re.findall(r'^(\w+_)([\d.]+) \{(.*?)^\}', text_of(version_script), re.M | re.S)
    said = re.findall(r'^ \(symver\)(\S+) (\S+)$', text_of(path), re.M)
    if not nodes or sorted(said) != sorted((prefix + number, number + '.0') for prefix, number, _ in nodes):
        bad.append(f'{path} has {said}, and {version_script} {[p + n for p, n, _ in nodes]}')
    for prefix, number, names in nodes:
        if '*' in names.partition('local:')[0] and not version.startswith(number + '.'):
            bad.append(f'{version_script}: a wildcard in {prefix}{number}, and this is {version}: name what it has')


def check_headers():
    """Each is installed, and read by what makes the declarations for other languages."""
    public = {os.path.basename(p) for p in glob.glob(os.path.join(ROOT, 'libqcbm', 'include', '*.h'))}
    beside = {os.path.basename(p) for p in glob.glob(os.path.join(ROOT, 'libqcbm-*', 'include', '*.h'))}
    names = {node.targets[0].id: node.value for node in ast.parse(text_of('bindings/python/declare.py')).body
             if isinstance(node, ast.Assign)}
    known = {*ast.literal_eval(names['HEADERS']), ast.literal_eval(names['NBD_HEADER'])}
    if len(public) < 6 or not beside or known != public | beside:
        bad.append(f'headers of bindings/python/declare.py: {sorted((public | beside) ^ known)}')
    included, ahead = set(), re.findall(r'#include <(.*)>', text_of('bindings/rust/qcbm-sys/all.h'))
    while ahead:
        name = ahead.pop()
        if name in public - included:
            included.add(name)
            ahead += re.findall(r'#include "(.*)"', text_of('libqcbm/include/' + name))
    if included != public:
        bad.append(f'bindings/rust/qcbm-sys/all.h does not include {sorted(public - included)}')
    there = {os.path.basename(p) for p in installed() if p.endswith('.h')}
    if not public <= there:
        bad.append(f'not installed: {sorted(public - there)}')


def check_documents():
    """What an installed document links to among the documents is installed, too, but for the pages of contributors."""
    stay, there = {'docs/layout.md', 'docs/testing.md', 'docs/packaging.md'}, set(installed())
    documents = [p for p in there if p.startswith('usr/share/doc/qcbm/') and p.endswith('.md')]
    for path in documents:
        path = path.removeprefix('usr/share/doc/qcbm/')
        for target in re.findall(r'\]\(([\w./-]+\.(?:md|png))\b', text_of(path)):
            target = os.path.normpath(os.path.join(os.path.dirname(path), target))
            if target.startswith('docs/') and target not in stay and 'usr/share/doc/qcbm/' + target not in there:
                bad.append(f'{path} links to {target}, which is not installed')
    if len(documents) < 10:
        bad.append(f'documents: {documents}')


def debian_packages():
    """What each .install file takes, and leaves: paths below usr/, libraries in usr/lib."""
    for path in glob.glob(os.path.join(ROOT, 'packaging', 'debian', '*.install')):
        lines = text_of(path).replace('usr/lib/*/', 'usr/lib/').replace('zsh/vendor-completions', 'zsh/site-functions')
        yield os.path.basename(path), [line.split()[0] for line in lines.splitlines()], []


def rpm_packages():
    """The same of each %files; that of Python is not installed by Meson."""
    text = text_of('packaging/rpm/qcbm.spec')
    for macro, folder in (('_libdir', 'lib'), ('_mandir', 'share/man'), ('_docdir', 'share/doc')):
        text = text.replace('%{' + macro + '}', '/usr/' + folder)
    for package, lines in re.findall(r'^%files(.*)\n((?:.+\n)*)', text, re.M):
        if 'python' not in package:
            left = re.findall(r'^%exclude /(\S+)', lines, re.M)
            yield 'qcbm.spec' + package, re.findall(r'^/(\S+)', lines, re.M), left


def takes(patterns, path):
    return any(fnmatch.fnmatch(path, pattern) or path.startswith(pattern + '/') for pattern in patterns)


def check_files(packages):
    paths = list(installed())
    for path in paths:
        owners = [name for name, patterns, left in packages if takes(patterns, path) and not takes(left, path)]
        if len(owners) != 1:
            bad.append(f'{path} is in {owners or "no package"}')
    with_nbd = any('libqcbm-nbd' in path for path in paths)
    for name, patterns, left in packages:
        for pattern in patterns + left:
            if not any(takes([pattern], path) for path in paths) and (with_nbd or 'nbd' not in pattern):
                bad.append(f'{name}: nothing is installed as {pattern}')
    return len(paths)


def main():
    version = subprocess.run([os.path.join(ROOT, 'scripts', 'version.sh')], check=True, capture_output=True,
                             text=True).stdout.strip()
    check_version(version)
    check_symbols(version, 'libqcbm', 'libqcbm/qcbm.map')
    check_symbols(version, 'libqcbm-nbd', 'libqcbm-nbd/qcbm-nbd.map')
    check_headers()
    check_documents()
    seen = [check_files(list(packages)) for packages in (debian_packages(), rpm_packages())]
    print('\n'.join(bad) or f'{seen[0]} files')
    return 1 if bad or min(seen) < 40 else 0


if __name__ == '__main__':
    sys.exit(main())
