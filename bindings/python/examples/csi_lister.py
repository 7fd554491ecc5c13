#!/usr/bin/env python3
"""csi_lister.py (allocated IMAGE | delta IMAGE BITMAP | snapshots IMAGE FROM [TO])
              [--starting-offset N] [--max-results N]

SPDX-License-Identifier: MIT

What the SnapshotMetadata service of CSI streams, as JSON lines: pages of ranges of variable length, each as many as
were asked for. Where a stream broke off, it goes on from there.
"""
import argparse
import json
import sys

import qcbm


def merged(extents, start):
    """Offset and size of what is dirty, neighbours made one, from @start on."""
    offset = end = None
    for view in extents.batches(start):
        for e in (view[i:i + 24] for i in range(0, len(view), 24)):
            at, length = int.from_bytes(e[0:8], sys.byteorder), int.from_bytes(e[8:16], sys.byteorder)
            if not e[16]:
                continue
            if at == end:
                end += length
                continue
            if offset is not None:
                yield offset, end - offset
            offset, end = at, at + length
    if offset is not None:
        yield offset, end - offset


def pages(extents, start, most):
    page = []
    for offset, size in merged(extents, start):
        page.append({'byte_offset': offset, 'size_bytes': size})
        if len(page) == most:
            yield page
            page = []
    if page:
        yield page


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('what', choices=['allocated', 'delta', 'snapshots'])
    parser.add_argument('image')
    parser.add_argument('names', nargs='*')
    parser.add_argument('--starting-offset', type=int, default=0)
    parser.add_argument('--max-results', type=int, default=256)
    given = parser.parse_args()
    with qcbm.Image(given.image) as image:
        openers = {'allocated': image.extents_of_layers, 'delta': image.extents,
                   'snapshots': image.extents_of_snapshots}
        with openers[given.what](*given.names) as extents:
            for page in pages(extents, given.starting_offset, given.max_results):
                print(json.dumps({'block_metadata_type': 'VARIABLE_LENGTH',
                                  'volume_capacity_bytes': image.info.virtual_size, 'block_metadata': page}))


if __name__ == '__main__':
    try:
        main()
    except qcbm.Error as e:
        sys.exit(f'csi_lister.py: {e}')
