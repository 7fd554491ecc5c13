# measure.py - run commands by turns and take the system's own account of each
#
# SPDX-License-Identifier: MIT
import collections
import os
import re
import shlex
import statistics
import subprocess
import tempfile

Figures = collections.namedtuple("Figures", "wall cpu memory")  # seconds, seconds, bytes


class Failed(Exception):
    """A command that ended with an error."""


def drop_cache(path):
    with open(path, "rb") as image:
        os.fsync(image.fileno())
        os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def words_of(line):
    return ["sh", "-c", line] if "|" in line or "&&" in line else shlex.split(line)


def timed(timer, command, timeout):
    """Figures of one run of @command (a line); None if it did not end in time."""
    try:
        done = subprocess.run([timer, str(timeout), *words_of(command)], capture_output=True, text=True)
    except OSError as error:
        raise Failed(error)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        raise Failed(f"{command} failed: {done.stderr}")
    wall, cpu, memory = map(int, done.stdout.split())
    return Figures(wall / 1e9, cpu / 1e9, memory * 1024)


LONG = 2  # seconds; what a run takes longer does not depend on one more warm-up


def by_turns(timer, commands, runs, timeout, cold=None):
    """@commands: name to command line; @runs: how many of each, by its name. One warm-up, then rounds, one after the
    other in each round, so that a machine that gets slower does so for all. Returns name to list of Figures; empty where a
    run took too long."""
    results = {name: [] for name in commands}
    given_up = set()
    for turn in range(max(runs.values()) + 1):
        for name, line in commands.items():
            if name in given_up or len(results[name]) == runs[name]:
                continue
            if cold:
                drop_cache(cold)
            figures = timed(timer, line, timeout)
            if figures is None:
                given_up.add(name)
                results[name] = []
            elif turn > 0 or cold or figures.wall > LONG:
                results[name].append(figures)
    return results


def writes(line):
    """(flushes, bytes written to files) of one run, as strace tells; None without it."""
    with tempfile.NamedTemporaryFile("r") as log:
        try:
            done = subprocess.run(["strace", "-f", "-qq", "-o", log.name, "-e", "trace=fsync,fdatasync,pwrite64,pwritev",
                                   *words_of(line)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except FileNotFoundError:
            return None
        if done.returncode != 0:
            return None
        calls = re.findall(r"(\w+)\(.*= (\d+)$", log.read(), re.MULTILINE)
    return (sum(name in ("fsync", "fdatasync") for name, _ in calls),
            sum(int(n) for name, n in calls if name.startswith("pwrite")))


def median(figures, what):
    return statistics.median(getattr(f, what) for f in figures) if figures else None
