# json.sh - the same for programs
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 first
qcbm bitmap --add --undo one image.qcow2 new
length=$(stat -c %s first)
grown=$(($(stat -c %s image.qcow2) - length))
json "v['dry-run'] and v['found'] == 'after' and len(v['steps']) == v['writes'] > 1 and v['bytes-cut'] == $grown and
    sum(s['length'] for s in v['steps']) == v['bytes-written']" unchanged image.qcow2 \
    qcbm undo --dry-run --output=json image.qcow2 one
json "v['image'] == 'image.qcow2' and v['undo-file'] == 'one' and not v['dry-run'] and 'steps' not in v and
    v['found'] == 'after' and v['file-size'] == $length and v['bytes-cut'] == $grown and v['flushes'] > 2" \
    qcbm undo --output=json image.qcow2 one
cmp image.qcow2 first
json "v['found'] == 'before' and v['writes'] == v['flushes'] == v['bytes-cut'] == 0" \
    qcbm undo -q --output=json image.qcow2 one
