#!/usr/bin/env python3
# qemu_judge.py - QEMU's own programs judge a sample of the crash states: old or new, and nothing else touched
# SPDX-License-Identifier: MIT
#
# usage: qemu_judge.py CUTS [SAMPLE [RANDOM]]
#
# CUTS is tests/crash/cuts.c built; it writes one of SAMPLE of its states to a file, in which RANDOM random subsets
# are (defaults: 180 and 2). Of each, `qemu-img check` must find no corruption, `qemu-img compare` and `qemu-img map`
# the content of the image before, `qemu-img info` the same snapshots and the old or the new bitmaps, and qemu-nbd
# must serve their bits.
import concurrent.futures
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'interop'))
from qtool import Failure, Work, fixtures, need_tools  # noqa: E402
from state_judge import StateJudge  # noqa: E402


def judge_rows(folder, part, rows):
    """In a thread: (count of old, of new, list of failures)."""
    work = Work(folder)
    work.servers = part * 100000
    judge = StateJudge(work)
    count, failures = {'old': 0, 'new': 0}, []
    for row in rows:
        try:
            count[judge.state(*row[:4])] += 1
        except Failure as failure:
            failures.append('%s, %s: %s' % (row[1], row[4], failure))
    return count['old'], count['new'], failures


def main():
    need_tools('qemu-img', 'qemu-io', 'qemu-nbd', 'nbdinfo')
    cuts = os.path.abspath(sys.argv[1])
    sample, random = (sys.argv[2:] + ['180', '2'][len(sys.argv) - 2:])[:2]
    with tempfile.TemporaryDirectory(prefix='qcbm') as folder:
        images = fixtures().fill(folder, fixtures().cases('crash'))
        done = subprocess.run([cuts, random, sample, *images], cwd=folder, check=True, stdout=subprocess.PIPE,
                              text=True)
        rows = [line.split('\t')[1:] for line in done.stdout.splitlines() if line.startswith('sample\t')]
        parts = [rows[:len(rows) // 2], rows[len(rows) // 2:]]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = list(pool.map(judge_rows, [folder] * 2, [0, 1], parts))
    old, new, failures = sum(r[0] for r in results), sum(r[1] for r in results), results[0][2] + results[1][2]
    for text in failures:
        print('not ok - ' + text)
    print('%d states judged by qemu-img and qemu-nbd: %d old, %d new, %d bad' % (len(rows), old, new, len(failures)))
    sys.exit(1 if failures or not old or not new else 0)


main()
