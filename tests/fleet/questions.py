#!/usr/bin/env python3
# questions.py - two weeks of records that are known: each engine gives the answers that they were made for, and
# the same ones when the lines are loaded again
#
# SPDX-License-Identifier: MIT
#
# --duckdb: that, too, by the command duckdb, which Debian does not have; not in CI.
#
# usage: questions.py [--duckdb]    environment: QCBM = path of the tool

import datetime
import json
import os
import subprocess
import sys

import fleet
from fleet import HOME, ask, load, require_equal, statement

NOW = datetime.datetime.now(datetime.timezone.utc)
LINES, FILES = [], {}


def stamp(hours_ago):
    return (NOW - datetime.timedelta(hours=hours_ago)).strftime('%Y-%m-%dT%H:%M:%S.%fZ')


def dump(value):
    return json.dumps(value, separators=(',', ':'))


def record(of, hours_ago, rc=0, error=None, changed=False, dirty=0, seconds=1.0, host='one', version='0.1.0',
           image_id='file-1-1.0', file_id='', bitmap='nightly', details=None, **more):
    result = None
    if rc == 0:
        result = {'image': of, 'overlay': of, 'changed': changed, 'enabled': True, 'dry-run': False,
                  'bitmap': bitmap, 'granularity': 65536, 'virtual-size': 1 << 40, 'dirty-bytes': dirty, **more}
    line = {
        'schema': 'qcbm.synth/1', 'qcbm': version, 'host': host, 'image': of, 'image_id': image_id,
        'started': stamp(hours_ago), 'seconds': seconds, 'rc': rc,
        'error': error and {'code': error, 'message': 'why: ' + error, 'offset': None}, 'warnings': 0}
    if file_id != '':  # of a version that has it
        line['file_id'] = file_id
    if details:  # as the command has it: the answer in that file, whole, and not in the line
        FILES[details] = dump({**line, 'result': result})
        result, line['image'] = None, None
    LINES.append(dump({**line, 'details': details and '/where/it/was/' + details, 'result': result}))
    return stamp(hours_ago)


TIB = 1 << 40
# good: made a week ago, kept since, growing
record('good', 150, changed=True, dirty=TIB)
record('good', 30, dirty=TIB + 65536)
GOOD = record('good', 2, dirty=3 * TIB, seconds=7.5)
# busy: good once, in use three nights
BUSY = record('busy', 74, changed=True, dirty=65536)
for night in 50, 26, 3:
    record('busy', night, rc=75, error='QCBM_E_LOCKED')
# was in use, then good
record('patient', 26, rc=75, error='QCBM_E_LOCKED')
PATIENT = record('patient', 2.5, changed=True, dirty=131072, host='two')
# never good
record('broken "\\ \u00e9', 4, rc=1, error='QCBM_E_CORRUPT', host='two', version='0.0.9')
record('broken too', 4, rc=1, error='QCBM_E_CORRUPT', host='two')
# killed last night, not run last night, never run
KILLED = record('killed', 5, rc=137, error='KILLED', seconds=100.0)
STALE = record('stale', 49, dirty=1)
# another file; a checkpoint made twice; another checkpoint, which is no news
record('swapped', 27, changed=True)
SWAPPED = record('swapped', 3, changed=True, image_id='file-2-2.0')
# tagged since: the same file. Then moved, or is it a copy of last week? Then another one of another tag, then one without
ONE, TWO = 'tag-' + '1' * 32, 'tag-' + '2' * 32
record('tagged', 50, changed=True)
record('tagged', 49, image_id=ONE, file_id='file-1-1.0')
record('tagged', 48, image_id=TWO, file_id='file-1-1.0')  # qcbm tag --new
record('tagged', 47, image_id=ONE, file_id='file-1-1.0')
MOVED = record('tagged', 40, image_id=ONE, file_id='file-3-3.0')
OTHER_TAG = record('tagged', 30, image_id=TWO, file_id='file-4-4.0')
NO_TAG = record('tagged', 3, image_id='file-5-5.0', file_id='file-5-5.0')
# behind a server there is the tag alone
URI = 'nbd://host/export'
record(URI, 50, changed=True, image_id=None, file_id=None)
record(URI, 49, image_id=ONE, file_id=None)
record(URI, 48, rc=75, error='QCBM_E_LOCKED', image_id=None, file_id=None)
record(URI, 47, image_id=ONE, file_id=None)
URI_OTHER = record(URI, 26, image_id=TWO, file_id=None)
URI_NONE = record(URI, 3, image_id=None, file_id=None)
record('lost', 27, changed=True)
LOST = record('lost', 3, changed=True)
record('second', 27, changed=True)
record('second', 3, changed=True, bitmap='other')
SECOND = stamp(27)
# successes that made no checkpoint: a trial, one that misses writes, one in another image
record('trial', 3, changed=False, **{'dry-run': True})
record('trial', 4, changed=True, enabled=False)
record('trial', 5, changed=True, image='elsewhere')
# answers that did not fit into their lines
record('long', 30, changed=True, dirty=8192, details='qcbm-1.json')
record('long', 4, dirty=16384, details='qcbm-2.json')
record('long', 3, rc=1, error='QCBM_E_IO', details='qcbm-3.json')
# of another command, and of an image that is not on the list any more
OTHER = LINES[0].replace('qcbm.synth/1', 'qcbm.info/1').replace('"good"', '"never"')
LINES.append(OTHER.replace(stamp(150), stamp(120)))
record('gone', 30, changed=True, dirty=TIB)
LIST = ['good', 'busy', 'patient', 'broken "\\ \u00e9', 'broken too', 'killed', 'stale', 'swapped', 'lost', 'second',
        'never', 'trial', "quote's", 'long', 'tagged', URI]

EXPECTED = {
    1: [('broken "\\ \u00e9', 'failed', '', 'QCBM_E_CORRUPT', 'why: QCBM_E_CORRUPT'),
        ('broken too', 'failed', '', 'QCBM_E_CORRUPT', 'why: QCBM_E_CORRUPT'),
        ('busy', 'in use', BUSY, 'QCBM_E_LOCKED', 'why: QCBM_E_LOCKED'),
        ('killed', 'killed', '', 'KILLED', 'why: KILLED'),
        ('never', 'never', '', '', ''), ("quote's", 'never', '', '', ''), ('second', 'made', SECOND, '', ''),
        ('stale', 'kept', STALE, '', ''), ('trial', 'never', '', '', '')],
    2: [('never', ''), ("quote's", ''), ('second', SECOND), ('stale', STALE), ('trial', '')],
    3: [('busy', 3, BUSY)],
    4: [('QCBM_E_CORRUPT', 2, 2, 'why: QCBM_E_CORRUPT'), ('KILLED', 1, 1, 'why: KILLED'),
        ('QCBM_E_IO', 1, 1, 'why: QCBM_E_IO')],
    5: [('one', 'killed', KILLED, 9, 100)],
    6: [('killed', 100, 100, 1), ('good', 7.5, round(9.5 / 3, 3), 3)] + [
        (name, 1, 1, runs) for name, runs in (
            ('broken "\\ \u00e9', 1), ('broken too', 1), ('busy', 4), ('gone', 1), ('long', 3), ('lost', 2), (URI, 6), ('patient', 2),
            ('second', 1), ('stale', 1), ('swapped', 2), ('tagged', 7))],
    7: [('good', 2 * TIB, 3 * TIB), ('long', 8192, 16384)],
    8: [(10, 3 * TIB + 65536 + 131072 + 16384 + 1, 10 * TIB)],
    9: [('tagged', MOVED, 'moved, or a copy in its place'), ('tagged', OTHER_TAG, 'another file'),
        (URI, URI_OTHER, 'another file'), ('lost', LOST, 'checkpoint was gone'), (URI, URI_NONE, 'another file'),
        ('swapped', SWAPPED, 'another file'), ('tagged', NO_TAG, 'another file')],
    10: [('one', '0.1.0', 13, 10, 118.5, GOOD), ('two', '0.0.9', 1, 0, 1, stamp(4)), ('two', '0.1.0', 2, 1, 2, PATIENT)],
}


OLD = 'CREATE VIEW clock AS SELECT 1 AS a; CREATE VIEW run AS SELECT 2 AS b; CREATE VIEW growth AS SELECT b FROM run;'


def load_told(engine, database, *files, of='list'):
    return subprocess.run([HOME + '/load.sh', engine, database, of, *files], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=True).stderr


def not_loaded(engine, database):
    """Without a list, or without records, there must be no answers that look well: nothing changes."""
    open('empty', 'w', encoding='utf-8').close()
    for wrong, what in ((['nosuch', 'records'], "'nosuch' cannot be read"), (['list', 'nosuch'], "'nosuch' cannot be read"),
                        (['list', 'records', '.'], "'.' cannot be read"),
                        (['empty', 'records'], "there is no image in the list 'empty'")):
        done = subprocess.run([HOME + '/load.sh', engine, database, *wrong], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        require_equal((done.returncode, done.stdout, done.stderr), (1, '', 'load.sh: %s: nothing is loaded\n' % what), engine)
    require_equal(ask(engine, database, 1), EXPECTED[1], engine)


def put_files(there):
    for name, text in FILES.items():
        if there:
            with open(name, 'w', encoding='utf-8') as f:
                f.write(text + '\n')
        else:
            os.unlink(name)


# Names that are told apart, and one that no database takes; lines that no record is, as a power cut leaves them, among some that are.
STRANGE = [b'a\x1fb', b'a\x01\x02b', b'a,b', b'a"b', b'a\rb', b'\\.', b"'); DROP TABLE image; --", 'a\u00e9\U0001f600b'.encode()]
RUBBISH = b'{"image":"\xe9"}\n' + bytes(5000) + b'\n\x01\x02\n'


def check_strange(engine, database):
    with open('strange', 'wb') as f:
        f.writelines(name + b'\n' for name in [b'a\xe9b', b'a\xed\xa0\x80b', *STRANGE])
    with open('a=b', 'wb') as f:  # which is no file to awk
        f.write(RUBBISH + dump({**json.loads(LINES[2]), 'image': 'a\u00e9\U0001f600b'}).encode() + b'\n')
    require_equal(load_told(engine, database, 'a=b', of='strange'),
                  'load.sh: names in the list that are not UTF-8, for which no record is found: 2\n'
                  'load.sh: lines that are no record, left out: 3\n', engine)
    never = {row[0] for row in ask(engine, database, 2)}
    names = {name.decode().replace('\r', '\n') for name in STRANGE[:-1]} | {'a?b (not UTF-8)', 'a???b (not UTF-8)'}
    require_equal(never, names, engine + ', strange names')


def check(engine, database):
    statement(engine, database, OLD)  # the views of another version
    said = load_told(engine, database, 'records')
    require_equal(said, 'load.sh: answers whose file is not there, beside the records or where it was: 3\n', engine)
    require_equal([row for row in ask(engine, database, 1) if row[0] == 'long'], [('long', 'never', '', '', '')], engine)
    put_files(True)
    load(engine, database, 'records')
    put_files(False)
    for _ in 1, 2:
        for number, expected in EXPECTED.items():
            require_equal(ask(engine, database, number), expected, '%s, question %d' % (engine, number))
        # again, with a line that was cut short and one that is empty
        with open('cut', 'w', encoding='utf-8') as f:
            f.write(LINES[0][:100] + '\n\n' + LINES[1] + '\n' + LINES[3][:70] + LINES[2] + '\n' + LINES[2][:50])
        said = load_told(engine, database, 'cut', 'records')
        require_equal(said, 'load.sh: answers whose file is not there, beside the records or where it was: 3\n'
                      'load.sh: lines that are no record, left out: 3\n', engine)
    not_loaded(engine, database)
    check_strange(engine, database)
    print('%s: %d answers' % (engine, len(EXPECTED)))


with fleet.scratch():
    require_equal(len(fleet.question_files()), len(EXPECTED), 'questions')
    with open('list', 'w', encoding='utf-8') as out:
        out.writelines(name + '\n' for name in LIST)
    with open('records', 'w', encoding='utf-8') as out:
        out.writelines(line + '\n' for line in LINES)
    check('sqlite', 'fleet.db')
    with fleet.PostgreSQL() as server:
        check('postgresql', server.database)
    if '--duckdb' in sys.argv:
        check('duckdb', 'fleet.duckdb')
