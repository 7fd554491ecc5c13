#!/usr/bin/env python3
# qemu_img.py - the crash states of qemu-img bitmap, by the judge that qcbm's own states must pass: for comparison
# SPDX-License-Identifier: MIT
#
# usage: qemu_img.py JUDGE_LOG [RANDOM [SAMPLE]]
#
# Records what `qemu-img bitmap` writes (strace), on the fixtures of the crash tests, and has tests/crash/judge_log.c judge what
# a cut of it could leave. Prints the figures for docs/crash-safety.md; no test, since the figures are not ours.
import collections
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'fixtures'))
import make as fixtures  # noqa: E402
ACTIONS = (  # name, options, bitmap
    ('add', ['--add'], 'new'),
    ('add --disabled', ['--add', '--disable'], 'new'),
    ('remove', ['--remove'], 'b0'),
    ('clear', ['--clear'], 'b0'),
    ('enable', ['--enable'], 'off'),
    ('disable', ['--disable'], 'b0'),
    ('merge', ['--merge', 'b0'], 'b1'),
)
LOG = 'events.bin'
CALLS = 'pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,fallocate,ftruncate'


def event(letter, offset=0, data=b''):
    return letter.encode() + struct.pack('<QQ', offset, len(data)) + data


def strings(text):
    return b''.join(bytes.fromhex(s.replace('\\x', '')) for s in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', text))


def parse(trace, image, size):
    """strace's lines about the image as events."""
    for line in trace:
        call = re.match(r'\d+ +(\w+)\(\d+<([^>]*)>(.*)', line)
        if not call or os.path.basename(call[2].encode().decode('unicode_escape')) != image or '= -1' in line:
            continue
        name, rest = call[1], call[3]
        if name in ('pwrite64', 'pwritev', 'pwritev2'):
            data = strings(rest)
            flags = ', 0' if name == 'pwritev2' else ''
            offset = int(re.search(r', \d+, (\d+)' + flags + r'(?:\)| <unfinished)', rest)[1])
            size = max(size, offset + len(data))
            yield event('w', offset, data)
        elif name in ('fdatasync', 'fsync'):
            yield event('f')
        elif name == 'ftruncate':
            length = int(re.search(r', (\d+)', rest)[1])
            if length < size:
                sys.exit('qemu-img makes the file shorter: the states do not know that')
            size = length
            yield event('g', length)
        elif name == 'fallocate':
            mode, offset, length = re.search(r', ([A-Z_|0-9a-fx]+), (\d+), (\d+)', rest).groups()
            if 'PUNCH_HOLE' in mode or 'ZERO_RANGE' in mode:
                yield event('w', int(offset), bytes(max(0, min(int(length), size - int(offset)))))
            elif 'KEEP_SIZE' not in mode:
                size = max(size, int(offset) + int(length))
                yield event('g', size)
        else:
            sys.exit('not expected: ' + line[:200])


def replay(file, one):
    """Apply an event to the bytes of a file."""
    offset, length = struct.unpack_from('<QQ', one, 1)
    end = offset if one[:1] == b'g' else offset + length
    if one[:1] != b'f':
        file.extend(bytes(max(0, end - len(file))))
        file[offset:offset + length] = one[17:]


def record(folder, image, options, bitmap):
    """Run qemu-img on a copy; False if it refuses."""
    copy, trace = 'qemu-' + image, os.path.join(folder, 'trace')
    shutil.copyfile(os.path.join(folder, image), os.path.join(folder, copy))
    strace = ['strace', '-f', '-y', '-xx', '-s', '4000000', '-e', 'trace=' + CALLS, '-o', trace]
    done = subprocess.run([*strace, 'qemu-img', 'bitmap', *options, '-f', 'qcow2', copy, bitmap], cwd=folder,
                          capture_output=True)
    if done.returncode:
        return None
    with open(os.path.join(folder, image), 'rb') as f:
        replayed = bytearray(f.read())
    with open(trace, encoding='ascii') as lines, open(os.path.join(folder, LOG), 'wb') as out:
        for one in parse(lines, copy, len(replayed)):
            out.write(one)
            replay(replayed, one)
    with open(os.path.join(folder, copy), 'rb') as f:
        if f.read() != replayed:
            sys.exit('%s %s: the recording does not lead to the file' % (image, ' '.join(options)))
    return copy


def qemu(folder, *argv):
    return subprocess.run(['qemu-img', *argv], cwd=folder, capture_output=True).returncode


def ask_qemu(folder, image):
    """(states asked, those that qemu-img does not open, those whose content is not the image's)."""
    samples = [name for name in os.listdir(folder) if name.startswith('sample-')]
    closed = other = 0
    for name in samples:
        if qemu(folder, 'info', '-f', 'qcow2', name) or qemu(folder, 'check', '-q', '-f', 'qcow2', name) == 1:
            closed += 1
        elif qemu(folder, 'compare', '-f', 'qcow2', '-F', 'qcow2', image, name):
            other += 1
        os.unlink(os.path.join(folder, name))
    return collections.Counter({'asked': len(samples), 'closed': closed, 'other': other})


def main():
    judge = os.path.abspath(sys.argv[1])
    random, sample = (sys.argv[2:] + ['100', '20'][len(sys.argv) - 2:])[:2]
    asked = collections.Counter()
    total, killed, runs, skipped = collections.Counter(), collections.Counter(), 0, 0
    with tempfile.TemporaryDirectory(prefix='qcbm') as folder:
        images = fixtures.fill(folder, fixtures.cases('crash'))
        for image in images:
            for name, options, bitmap in ACTIONS:
                copy = record(folder, image, options, bitmap)
                if not copy:
                    continue  # there is no such bitmap in this image, or no room for a first one
                done = subprocess.run([judge, random, sample, image, copy, LOG, bitmap + ','], cwd=folder, text=True,
                                      capture_output=True)
                if done.returncode:
                    print('%s, %s: not judged: %s' % (image, name, done.stderr.strip()))
                    skipped += 1
                    continue
                runs += 1
                asked += ask_qemu(folder, image)
                rows = [line.split('\t') for line in done.stdout.splitlines()]
                for verdict, every, prefix in rows:
                    total[verdict] += int(every)
                    killed[verdict] += int(prefix)
                print('%s, %s: %s' % (image, name, ', '.join('%s %s' % (r[1], r[0]) for r in rows if r[1] != '0')))
    for what, counts in (('all states', total), ('killed process only', killed)):
        print('%s, %d runs (%d not judged), %d states: %s' % (what, runs, skipped, sum(counts.values()),
              ', '.join('%d %s' % (n, verdict) for verdict, n in counts.items())))
    print('of %d states qemu-img does not open %d, and reads other guest content in %d'
          % (asked['asked'], asked['closed'], asked['other']))


main()
