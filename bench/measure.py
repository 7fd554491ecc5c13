# measure.py - run commands by turns and take the system's own account of each
#
# SPDX-License-Identifier: MIT
import collections
import os
import shlex
import statistics
import subprocess
import sys

Figures = collections.namedtuple("Figures", "wall cpu memory")  # seconds, seconds, bytes


def drop_cache(path):
    with open(path, "rb") as image:
        os.fsync(image.fileno())
        os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(timer, command, timeout):
    """Figures of one run of @command (a list); None if it did not end in time."""
    done = subprocess.run([timer, str(timeout), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed: {done.stderr}")
    wall, cpu, memory = map(int, done.stdout.split())
    return Figures(wall / 1e9, cpu / 1e9, memory * 1024)


def by_turns(timer, commands, runs, timeout, cold=None):
    """@commands: name to command line. One warm-up of each, then @runs rounds, one after the other in each round, so that
    a machine that gets slower does so for all. Returns name to list of Figures; empty where a run took too long."""
    results = {name: [] for name in commands}
    given_up = set()
    for turn in range(runs + 1):
        for name, line in commands.items():
            if name in given_up:
                continue
            if cold:
                drop_cache(cold)
            figures = timed(timer, shlex.split(line), timeout)
            if figures is None:
                given_up.add(name)
                results[name] = []
            elif turn > 0 or cold:
                results[name].append(figures)
    return results


def median(figures, what):
    return statistics.median(getattr(f, what) for f in figures) if figures else None
