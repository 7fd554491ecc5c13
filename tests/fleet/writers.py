#!/usr/bin/env python3
# writers.py - sixteen runs at once append to one file: a whole line of each, whose answers are those of the images
#
# SPDX-License-Identifier: MIT
#
# usage: writers.py [--full]    environment: QCBM = path of the tool

import collections
import os

import fleet
from fleet import require_equal

with fleet.scratch():
    names = fleet.make_images(fleet.count(160, 40))
    os.environ['FLEET_RECORDS'] = os.getcwd()
    # a pipe, too: all of it comes out as it went in
    fleet.run('sh', '-c', 'xargs -P16 -n1 -d "\\n" qcbm info --output=jsonl <list | cat >piped')
    fleet.run('sh', '-c', 'xargs -P16 -n1 -d "\\n" "$FLEET_HOME/job.sh" <list')
    written = fleet.records(os.uname().nodename + '.jsonl')
    for found, schema in ((written, 'qcbm.synth/1'), (fleet.records('piped'), 'qcbm.info/1')):
        require_equal(sorted(r['image'] for r in found), names, 'images of ' + schema)
        ends = collections.Counter((r['schema'], r['rc'], r['error']) for r in found)
        require_equal(ends, {(schema, 0, None): len(names)}, 'ends')
    require_equal({(r['result']['changed'], r['result']['dirty-bytes']) for r in written}, {(True, 8192)}, 'answers')
    require_equal(len({r['image_id'] for r in written}), len(names), 'ids')
    print('%d lines by 16 writers, in a file and in a pipe' % len(names))
