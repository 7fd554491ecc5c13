#!/usr/bin/env python3
"""steps.py FILE - the steps of steps.txt in Python; steps.c says what is printed

SPDX-License-Identifier: MIT
"""
import json
import sys

import qcbm

WRITE = qcbm.OpenFlag.WRITE


def or_none(word):
    return None if word == '-' else word


def info(path):
    with qcbm.Image(path) as image:
        i = image.info
        return {'version': i.version, 'virtual_size': i.virtual_size, 'cluster_size': i.cluster_size,
                'refcount_bits': i.refcount_bits, 'bitmaps': i.bitmap_count, 'snapshots': i.snapshot_count,
                'backing': i.backing_file}


def list_(path):
    with qcbm.Image(path) as image:
        return [{'name': b.name, 'granularity': b.granularity, 'enabled': b.enabled, 'in_use': b.in_use,
                 'dirty': image.bitmap_usage(b.name).dirty_bytes} for b in image.bitmaps]


def extents(path, bitmap, flags):
    with qcbm.Image(path) as image, image.extents(bitmap, flags=int(flags)) as found:
        return [list(e) for e in found.dirty()]


def layers(path):
    with qcbm.Image(path) as image, image.extents_of_layers() as found:
        return [list(e) for e in found.dirty()]


def synth(path, name, granularity, flags, since):
    with qcbm.Image(path, WRITE) as image:
        r = image.synth(name, granularity=int(granularity), flags=int(flags), since=or_none(since))
        return {'dirty': r.summary.dirty_bytes, 'granules': r.summary.granules,
                'dirty_granules': r.summary.dirty_granules, 'granularity': r.summary.granularity,
                'layers': [layer.filename for layer in r.layers], 'notes': r.summary.notes}


def edit(path, verb, *words):
    with qcbm.Image(path, WRITE) as image:
        with image.edit() as e:
            method = getattr(e, {'set': 'set_range'}.get(verb, verb))
            method(*(int(w) if w.isdigit() else w for w in words))
        return {'writes': e.committed.writes, 'flushes': e.committed.flushes, 'bytes': e.committed.bytes_written}


def check(path):
    with qcbm.Image(path) as image:
        r = image.check()
        return {'corruptions': r.corruptions, 'leaks': r.leaks, 'errors': r.check_errors,
                'allocated': r.allocated_clusters, 'total': r.total_clusters}


def delta(path, out, bitmap, id_, parent):
    with qcbm.Image(path) as image:
        r = image.delta(out, bitmap=bitmap, id=id_, parent_id=or_none(parent), created=1)
        return {'id': r.id, 'parent': r.parent_id, 'size': r.size_after, 'data': r.data_bytes, 'zero': r.zero_bytes,
                'digest': r.digest}


def delta_info(path):
    i = qcbm.delta_info(path, qcbm.DeltaInfoFlag.VERIFY)
    return {'form': i.form, 'id': i.id, 'parent': i.parent_id, 'digest': i.digest, 'records': i.records,
            'data': i.data_bytes, 'zero': i.zero_bytes, 'bitmap': i.bitmap}


def merge(out, *deltas):
    r = qcbm.merge_deltas(deltas, out)
    return {'id': r.id, 'parent': r.parent_id, 'digest': r.digest}


def apply(base, form, *deltas):
    r = qcbm.apply(base, deltas, base_format=form)
    return {'applied': r.applied, 'already': r.already, 'data': r.data_bytes, 'zero': r.zero_bytes, 'id': r.id}


def checkpoint(name, *disks):
    r = qcbm.create_checkpoint(name, [d.split('=') for d in disks])
    return {'disks': r.disks, 'created': r.created, 'there': r.there}


def verify(name, *disks):
    report = qcbm.verify_checkpoints([d.split('=') for d in disks], names=[name])
    return [{'name': r.checkpoint, 'disk': r.disk, 'reason': qcbm.reason_name(r.reason), 'layers': r.layers,
             'dirty': None if r.dirty_bytes == qcbm.UNKNOWN else r.dirty_bytes} for r in report.rows]


VERBS = {'info': info, 'list': list_, 'extents': extents, 'layers': layers, 'synth': synth, 'edit': edit, 'check': check,
         'delta': delta, 'delta-info': delta_info, 'merge': merge, 'apply': apply, 'checkpoint': checkpoint,
         'verify': verify}


def main(path):
    with open(path, encoding='ascii') as f:
        for line in f.read().splitlines():
            verb, *words = line.split()
            said = {'step': line}
            try:
                said['result'] = VERBS[verb](*words)
            except qcbm.Error as e:
                said.update(error=qcbm.code_name(e.code), offset=e.offset, message=e.message)
            print(json.dumps(said, separators=(',', ':')))


main(*sys.argv[1:])
