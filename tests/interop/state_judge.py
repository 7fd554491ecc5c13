# state_judge.py - QEMU's programs judge an image that was left in the middle of a change: old or new, nothing else
#
# SPDX-License-Identifier: MIT
import json

from qtool import digest, require, require_equal, served_dirty


def bitmaps_of(work, image):
    """name -> (granularity, flags, dirty ranges), as qemu-img info and qemu-nbd have it, which serves none that is in use."""
    shown = work.info_bitmaps(image)
    dirty = served_dirty(work, image, sorted(name for name in shown if 'in-use' not in shown[name][1]))
    return {name: shown[name] + (dirty.get(name),) for name in shown}


def guest_of(work, image):
    """Where the guest's data is, and the snapshots."""
    rows = json.loads(work.run('qemu-img', 'map', '--output=json', '-f', 'qcow2', image).out)
    for row in rows:
        if row.get('filename') == image:
            row['filename'] = 'IMAGE'
    return rows, work.info(image).get('snapshots', [])


def split(bitmaps, named):
    """(those that an operation is about, the others); named: bitmaps, each followed by a comma, or *."""
    names = set(bitmaps) if named == '*' else set(named.rstrip(',').split(','))
    return ({k: v for k, v in bitmaps.items() if k in names}, {k: v for k, v in bitmaps.items() if k not in names})


class StateJudge:
    """Remembers what it saw of images before and after, and of states: by name, by content."""

    def __init__(self, work):
        self.work, self.known = work, {}

    def once(self, function, image):
        key = function.__name__, image
        if key not in self.known:
            self.known[key] = function(self.work, image)
        return self.known[key]

    def state(self, state, before, after, named):
        """'old' or 'new'. Raises Failure for anything else."""
        key = digest(self.work.path(state)), before, after, named
        if key not in self.known:
            self.known[key] = self.look(state, before, after, named)
        return self.known[key]

    def look(self, state, before, after, named):
        report = json.loads(self.work.run('qemu-img', 'check', '--output=json', '-f', 'qcow2', state, rc=(0, 3)).out)
        require(not report.get('corruptions') and not report['check-errors'], 'qemu-img check: %r' % report)
        self.work.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', before, state)
        require_equal(guest_of(self.work, state), self.once(guest_of, before), 'map or snapshots')
        now, rest = split(bitmaps_of(self.work, state), named)
        old, unnamed = split(self.once(bitmaps_of, before), named)
        new, _ = split(self.once(bitmaps_of, after), named)
        require_equal(rest, unnamed, 'bitmaps that were not named')
        if now == new:
            return 'new'
        require_equal(now, old, 'named bitmaps, neither new nor')
        return 'old'
