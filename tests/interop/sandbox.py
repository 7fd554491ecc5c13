#!/usr/bin/env python3
# sandbox.py - every way of qcbm to read: shut in before the image is opened, the same output as outside; each call of the list is
# made by one of them
#
# SPDX-License-Identifier: MIT

import os
import re
import subprocess
import tempfile

import qtool
from qtool import arguments, need_tools, require, require_equal, run_cases

ROWS = os.environ['SANDBOX_ROWS']
LARGE = ['dense.qcow2', 'large.qcow2']
CALLS = 'calls of '  # a reader: in files, for the last of the cases
ABORT = {'rt_sigprocmask', 'getpid', 'gettid'}  # abort() alone makes them
# Rows that no command makes here, and why they are there all the same.
ELSEWHERE = {
    'open': 'musl opens files with it',
    'stat': 'C libraries before newfstatat',
    'fadvise64': 'for what a slow disk does not have in memory',
    'sched_setaffinity': 'where a thread begins on the processor of the one that made it',
    'clock_gettime': 'answered without a call where the kernel can',
}

# Each way to read: its words, and what the image must have been through.
READERS = {
    'info': ['info', 'o.qcow2'],
    'info-chain': ['info', '--backing-chain', '--output=json', 'o.qcow2'],
    'info-usage': ['info', '--usage', 'o.qcow2'],
    'check': ['check', 'o.qcow2'],
    'check-progress': ['check', '-p', 'o.qcow2'],
    'check-max-read': ['check', '--max-read=1G', 'o.qcow2'],
    'check-untrusted': ['check', '--untrusted', 'o.qcow2'],
    'map': ['map', 'o.qcow2'],
    'map-json': ['map', '--output=json', 'o.qcow2'],
    'snapshot': ['snapshot', '-l', 'o.qcow2'],
    'measure': ['measure', '-O', 'qcow2', 'o.qcow2'],
    'dump-l1': ['dump', 'o.qcow2', 'l1'],
    'dump-header': ['dump', '--output=json', 'o.qcow2', 'header'],
    'extents': ['extents', 'o.qcow2', 'b'],
    'extents-zero': ['extents', '--with=zero', 'o.qcow2', 'b'],
    'list': ['bitmap', '--list', 'o.qcow2'],
    'list-chain': ['bitmap', '--list', '--chain', 'o.qcow2'],
    'export': ['bitmap', '--export', 'out', '--force', 'o.qcow2', 'b'],
    'export-raw': ['bitmap', '--export', '-', '--format=raw', 'o.qcow2', 'b'],
    'export-json': ['bitmap', '--export', '-', '--format=json', 'o.qcow2', 'b'],
    'export-dry': ['bitmap', '--export', 'none', '--dry-run', '--format=json', 'o.qcow2', 'b'],
    'bitmap-dry': ['bitmap', '--add', '--disable', '--dry-run', 'o.qcow2', 'x'],
    'merge-dry': ['bitmap', '--merge', 's', '-b', 'source.qcow2', '-F', 'qcow2', '--dry-run', 'o.qcow2', 'b'],
    'import-dry': ['bitmap', '--import', 'list', '--format=json', '--dry-run', 'o.qcow2', 'x'],
    'import-check-dry': ['bitmap', '--import', 'list', '--format=json', '--check', 'm', '--dry-run', 'o.qcow2', 'x'],
    'copy-dry': ['bitmap', '--copy-to', 'source.qcow2', '--dry-run', 'o.qcow2', 'b'],
    'collect-dry': ['bitmap', '--collect', 'like', '--as', 'x', '--dry-run', 'o2.qcow2'],
    'commit-into-dry': ['bitmap', '--commit-into', 'base.qcow2', '--dry-run', 'o2.qcow2'],
    'prune-chain-dry': ['bitmap', '--prune', 'like', '--chain', '--dry-run', 'o2.qcow2'],
    'prune-dry': ['bitmap', '--prune', '*', '--dry-run', 'o.qcow2'],
    'synth-threads-dry': ['synth', '--threads=4', '--dry-run', 'dense.qcow2', 'x'],
    'synth-cores-dry': ['synth', '--dry-run', 'large.qcow2', 'x'],
    'check-threads': ['check', '--threads=4', 'dense.qcow2'],
    'synth-dry': ['synth', '--dry-run', '--output=json', 'o.qcow2', 'x'],
    'dense-check': ['check', 'dense.qcow2'],
    'synth-since-dry': ['synth', '--since', 'base.qcow2', '--dry-run', 'o.qcow2', 'x'],
    'synth-into-dry': ['synth', '--into', 'source.qcow2', '--dry-run', 'o.qcow2', 'x'],
    'synth-like-dry': ['synth', '--like', 'base.qcow2', '--dry-run', '-p', 'o.qcow2'],
    'attach-verify': ['attach', '--verify', '--output=json', 'raw.qcow2'],
    'attach-verify-data': ['attach', '--verify', '--data', 'disk.raw', 'raw.qcow2'],
    'attach-reset-dry': ['attach', '--reset', '--dry-run', 'raw.qcow2'],
    'rescue-dry': ['rescue', '--dry-run', 'o.qcow2'],
    'rescue-probe-dry': ['rescue', '--dry-run', '--probe-backing', '--output=json', 'dense.qcow2'],
    'manifest': ['manifest', '-q', '-o', 'xxh3', '--force', 'o.qcow2'],
    'manifest-sha256': ['manifest', '--digest=sha256', '-o', 'sha', '--force', 'o.qcow2'],
    'manifest-verify': ['manifest', '--verify', 'm', 'o.qcow2'],
    'manifest-update': ['manifest', '--update', 'm', '--bitmap', 'b', 'o.qcow2'],
    'picture': ['picture', '-b', 'b', 'o.qcow2'],
    'picture-host': ['picture', '--host', '--output=json', 'o.qcow2'],
    'picture-against-png': ['picture', '--against', 'o2.qcow2', '--force', '-o', 'out.png', 'o.qcow2'],
    'picture-svg': ['picture', '--chain', '--as=svg', '-o', '-', 'o.qcow2'],
    'synth-against-dry': ['synth', '--against', 'm', '--dry-run', 'o.qcow2', 'x'],
    'delta-dry': ['delta', '--layer', '--dry-run', '--output=json', '--id', '0' * 31 + '1', 'o.qcow2', 'x'],
    'delta-random-dry': ['delta', '--layer', '--dry-run', 'o.qcow2', 'x'],
    'delta-pipe': ['delta', '--since=base.qcow2', '-O', 'rbd-diff', '--id', '0' * 31 + '1', 'o.qcow2', '-'],
    'delta-info': ['delta', '--info', '--verify', 'd.qcow2'],
    'apply-dry': ['apply', '--dry-run', 'base.qcow2', 'd.qcow2'],
    'undo-dry': ['undo', '--dry-run', 'undone.qcow2', 'undo'],
}


def make_images(work):
    work.create('base.qcow2', '64M')
    work.run('qemu-img', 'bitmap', '--add', 'base.qcow2', 'like')
    work.create('o.qcow2', '64M', backing='base.qcow2')
    work.io('o.qcow2', 'write 1M 1M', 'write -z 3M 64k')
    work.run('qemu-img', 'bitmap', '--add', 'o.qcow2', 'b')
    work.run('qemu-img', 'snapshot', '-c', 'here', 'o.qcow2')
    work.qcbm('delta', '--layer', 'o.qcow2', 'd.qcow2')
    work.create('o2.qcow2', '64M', backing='base.qcow2')
    work.run('qemu-img', 'bitmap', '--add', 'o2.qcow2', 'like')
    work.create('source.qcow2', '64M')
    work.run('qemu-img', 'bitmap', '--add', 'source.qcow2', 's')
    work.run('truncate', '-s', '64M', 'disk.raw')
    work.qcbm('attach', '--data', 'disk.raw', '--data-name', 'disk.raw', '--bitmap', 'b', 'raw.qcow2')
    work.io('raw.qcow2', 'write 2M 1M', 'write -z 1M 64k', 'write -z 4M 64k')
    with open(work.path('disk.raw'), 'r+b') as f:  # behind the guest's back
        f.seek(4 << 20)
        f.write(b'x')
    work.create('undone.qcow2', '64M')
    work.qcbm('bitmap', '--add', '--undo', 'undo', 'undone.qcow2', 'x')
    work.qcbm('manifest', '-o', 'm', '--digest=sha256', 'o.qcow2')
    with open(work.path('list'), 'w') as f:
        f.write(work.qcbm('extents', '--output=json', 'o.qcow2', 'b').out)
    # so many tables that lists are sorted and grow, each next to the one before: qemu-io looks at all of L1 in each write
    work.create('dense.qcow2', '128M', options='cluster_size=512')
    work.io('dense.qcow2', *['write %dk 512' % (32 * i) for i in range(4096)])
    work.run('qemu-img', 'snapshot', '-c', 'here', 'dense.qcow2')

    # mapping tables of so many bytes that threads are worth it
    work.create('large.qcow2', '40G', options='cluster_size=64k,preallocation=metadata')


def take_images(work, folder):
    for name in os.listdir(folder):
        if name not in LARGE and not name.startswith(CALLS):
            qtool.copy_sparse(os.path.join(folder, name), work.path(name))
    for name in LARGE:
        os.link(os.path.join(folder, name), work.path(name))


def trace(work, *argv):
    """The calls of a program and its children by process: [(pid, call, line)], in order."""
    line = ['strace', '-f', '-qq', '-e', 'signal=none', '-o', 'trace', *argv]
    work.note(' '.join(line))
    done = subprocess.run(line, cwd=work.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=qtool.strace_environment(), timeout=300)
    with open(work.path('trace')) as f:
        found = [re.match(r'(\d+) +(?:<\.\.\. )?(\w+)', line) for line in f]
        f.seek(0)
        return done, [(m.group(1), m.group(2), line) for m, line in zip(found, f) if m]


def inside(calls):
    """What is called behind the filter, by the process that set it and by its threads."""
    at = [k for k, (_, call, line) in enumerate(calls) if call == 'seccomp' and 'SET_MODE_FILTER' in line and '= 0' in line]
    require(len(at) == 1, 'there is no filter, or more than one')
    own = {calls[at[0]][0]}
    for pid, call, line in calls[at[0] + 1:]:
        begun = re.search(r'(?:clone\(.*CLONE_THREAD|<\.\.\. clone resumed).* = (\d+)$', line)
        if pid in own and begun:
            own.add(begun.group(1))
    return [(call, line) for pid, call, line in calls[at[0] + 1:] if pid in own], calls[:at[0]]


def without_times(text):
    return re.sub(rb'[0-9.]+ s;|"elapsed-seconds": [0-9.]+', b'', text)


def keep_calls(folder, name, after):
    path = os.path.join(folder, CALLS + name)
    with open(path + '.new', 'w') as f:
        f.write(' '.join({call for call, _ in after}))
    os.rename(path + '.new', path)


def kept_calls(work, folder, name, words):
    """Traced once in a run; the cases that this one follows may be left out, or still at it."""
    if not os.path.exists(os.path.join(folder, CALLS + name)):
        keep_calls(folder, name, inside(trace(work, qtool.QCBM, *words)[1])[0])
    with open(os.path.join(folder, CALLS + name)) as f:
        return set(f.read().split())


def case_reader(work, folder, name, words):
    take_images(work, folder)
    done, calls = trace(work, qtool.QCBM, *words)
    after, before = inside(calls)
    keep_calls(folder, name, after)
    require(any('landlock_restrict_self' == call for _, call, _ in before), 'Landlock is not used')
    opened = re.compile(r'open\w*\(.*"(%s)"' % '|'.join(re.escape(w) for w in words if w.endswith(('.qcow2', 'undo'))))
    early = [line for _, _, line in before if opened.search(line) and 'O_PATH' not in line]
    require(not early, 'opened outside the sandbox: %s' % ''.join(early))
    require(any(opened.search(line) for _, line in after), 'the image is not opened at all')
    # clone3() is as if it were unknown, and the C library goes on with clone()
    refused = [line for call, line in after if re.search(r'= -1 (EPERM|EACCES|ENOSYS)', line) and call != 'clone3']
    require(not refused, 'refused: %s' % ''.join(refused))
    outside = work.run(qtool.QCBM, *words, '--no-sandbox', rc=(0, 2, 3))
    require_equal((done.returncode, without_times(done.stdout)), (outside.code, without_times(outside.raw_out)),
                  'output in the sandbox and outside')


def case_each_call_is_needed(work, folder):
    take_images(work, folder)
    rows = [line.split() for line in subprocess.run([ROWS], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()]
    if any('ptrace' in row for row in rows):
        return  # with AddressSanitizer: these calls are the sanitizer's
    made = set()
    # the last one is no journal, which is told when it has been looked at from outside
    for name, words in [*READERS.items(), ('recover', ['checkpoint', 'recover', '--dry-run', 'list'])]:
        made |= kept_calls(work, folder, name, words)
    aborted = {call for call, _ in inside(trace(work, ROWS, 'abort')[1])[0]}
    for row in rows:
        by = aborted if row[0] in ABORT else made
        require(by & set(row) or row[0] in ELSEWHERE, 'nothing makes any of these calls: %s' % ', '.join(row))
    require('clone' in made, 'there are no threads')
    allowed = {name for row in rows for name in row} | {'tgkill', 'clone'}
    require(made <= allowed | {'clone3'} and aborted <= allowed, 'made and not listed: %r' % sorted((made | aborted) - allowed - {'clone3'}))


def main():
    args = arguments('the sandbox of reading commands')
    need_tools('qemu-img', 'qemu-io', 'strace')
    qtool.QCBM = qtool.qcbm_path()
    with tempfile.TemporaryDirectory(prefix='qcbm') as folder:
        make_images(qtool.Work(folder))
        cases = [(case_reader, name, {'folder': folder, 'name': name, 'words': words})
                 for name, words in READERS.items()]
        cases.append((case_each_call_is_needed, 'each-call-is-needed', {'folder': folder}))
        run_cases(args, cases)


if __name__ == '__main__':
    main()
