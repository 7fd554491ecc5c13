#!/usr/bin/env python3
# info.py - "qcbm info" prints what "qemu-img info" prints: the text line for line, the JSON field for field
#
# SPDX-License-Identifier: MIT
#
# Environment: QCBM = path of the tool. Needs qemu-img and qemu-io. Names with control characters, which qcbm escapes,
# are tests of the command line (tests/cli/info).

import difflib
import json
import os
import signal
import struct
import subprocess
import sys

import older
import qtool

QCBM = os.path.abspath(os.environ['QCBM'])
SECRET = ['--object', 'secret,id=s,data=interop']
faults = []
compared = 0
images = 0


def run(*command):
    return qtool.run_patiently(command, timeout=None)


def create(name, *arguments, size='10M', options=''):
    return qtool.here().create_image([*(('-o', options) if options else ()), *arguments], name, size)


def poke(name, offset, data):
    with open(name, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def peek(name, offset, length):
    with open(name, 'rb') as f:
        f.seek(offset)
        return f.read(length)


def kill_writer(name):
    """Write with qemu-io, which then aborts: bitmaps stay in use, and an image with lazy refcounts stays dirty."""
    done = subprocess.run(['bash', '-c', 'ulimit -c 0; exec qemu-io -c "write 0 64k" -c abort "$0"', name],
                          stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != -signal.SIGABRT:
        raise RuntimeError('qemu-io did not abort: %r' % done)


def output(tool, arguments, zone):
    done = subprocess.run([tool, 'info', *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          env=dict(os.environ, TZ=zone))
    if done.returncode != 0:
        return 'exit code %d: %s' % (done.returncode, done.stderr.decode(errors='backslashreplace'))
    return done.stdout.decode(errors='backslashreplace')


def same_text(what, theirs, ours):
    try:
        ours = older.text('info', ours)
    except qtool.Failure as fault:
        faults.append('%s: text: %s' % (what, fault))
    if theirs != ours:
        faults.append('%s: text\n%s' % (what, '\n'.join(difflib.unified_diff(
            theirs.splitlines(), ours.splitlines(), 'qemu-img', 'qcbm', lineterm=''))))


def left_out():
    """Is this image one of those that a part of the test does not look at?"""
    global images
    images += 1
    return images % qtool.test_part() != 0


def same(what, name, *arguments, zone='UTC'):
    global compared
    if left_out():
        return
    compared += 2
    in_text(what, name, *arguments, zone=zone)
    in_json(what, name, *arguments, zone=zone)


def one_of_many(what, name):
    """In the form whose turn it is."""
    global compared
    if left_out():
        return
    compared += 1
    (in_json if qtool.one_form(what) else in_text)(what, name)


def in_text(what, name, *arguments, zone='UTC'):
    theirs, ours = (output(tool, [*arguments, name], zone) for tool in ('qemu-img', QCBM))
    if theirs.startswith('exit code'):
        faults.append('%s: qemu-img fails: %s' % (what, theirs))
    else:
        same_text(what, theirs, ours)


def in_json(what, name, *arguments, zone='UTC'):
    theirs, ours = (output(tool, ['--output=json', *arguments, name], zone) for tool in ('qemu-img', QCBM))
    try:
        if json.loads(theirs) != older.value('info', ours):
            faults.append('%s: JSON\n  qemu-img %s\n  qcbm %s' % (what, theirs, ours))
    except (ValueError, qtool.Failure) as fault:
        faults.append('%s: JSON: %s\n%s' % (what, fault, ours))


# ---- the images ----------------------------------------------------------------------------------------------------

def geometry():
    create('base.qcow2')
    same('version 3', 'base.qcow2')
    same('version 2', create('v2.qcow2', options='compat=0.10'))
    for bits in range(9, 22):
        one_of_many('cluster size 2^%d' % bits, create('cluster.qcow2', options='cluster_size=%d' % (1 << bits)))
    for bits in 14, 16, 21:
        same('extended L2', create('extended.qcow2', options='extended_l2=on,cluster_size=%d' % (1 << bits)))
    for bits in 1, 2, 4, 8, 16, 32, 64:
        one_of_many('refcount bits %d' % bits, create('refcount.qcow2', options='refcount_bits=%d' % bits))
    same('zstd', create('zstd.qcow2', options='compression_type=zstd'))
    same('lazy refcounts', create('lazy.qcow2', options='lazy_refcounts=on'))
    kill_writer('lazy.qcow2')
    same('dirty', 'lazy.qcow2')
    create('corrupt.qcow2')
    poke('corrupt.qcow2', 79, b'\2')
    same('corrupt', 'corrupt.qcow2')


def sizes():
    global compared
    create('size.qcow2', options='cluster_size=2M')
    edges = [1000, 1024, 10 * 1024, 100 * 1024, 999 * 1024, 1000 * 1024, 1023 * 1024, 1024 * 1024]
    near = {edge * 1024 ** power + delta for edge in edges for power in range(5) for delta in (-512, 0, 1, 512)}
    for size in sorted(near | {0, 511, 512, 3 << 54}):
        if size < 1 << 55:
            poke('size.qcow2', 24, struct.pack('>Q', size))  # L1 is too short, which info does not look at
            poke('size.qcow2', 36, struct.pack('>I', max(1, -(-size >> 39))))
            if not left_out():
                in_text('virtual size %d' % size, 'size.qcow2')  # in JSON there is the number alone
                compared += 1
    for preallocation in 'metadata', 'falloc':
        same('preallocation', create('full.qcow2', options='preallocation=' + preallocation))


def paths():
    create('base.qcow2')
    os.makedirs('folder/sub', exist_ok=True)
    name = create('folder/overlay.qcow2', '-u', '-F', 'qcow2', '-b', '../base.qcow2')
    for path in name, './' + name, os.path.abspath(name), 'folder/sub/../overlay.qcow2':
        same('path ' + path, path)
    same('with -f', name, '-f', 'qcow2')
    same('with -U', name, '-U')
    same('with both', name, '-Uf', 'qcow2')
    for backing in ('base.qcow2', '/nowhere/base.raw', 'sub/base', './a:b', 'a:b', 'file:base.qcow2', 'with blank',
                    'nbd://host:1/name', 'json:{"driver":"qcow2","file":{"driver":"file","filename":"x"}}',
                    '"quoted\\"', 'gr\u00fc\u00df', '\U0001f600', 'x' * 1000):
        one_of_many('backing file %r' % backing, create('folder/overlay.qcow2', '-u', '-F', 'raw', '-b', backing))
    for version in '0.10', '1.1':
        create('overlay.qcow2', '-F', 'raw', '-u', '-b', 'base.raw', options='compat=' + version)
        same('backing file, version %s' % version, 'overlay.qcow2')
        at = peek('overlay.qcow2', 0, 4096).index(struct.pack('>I', 0xe2792aca))
        poke('overlay.qcow2', at, b'none')
        same('backing file without format, version %s' % version, 'overlay.qcow2')
    os.chdir('folder')
    same('in the folder', 'overlay.qcow2')
    os.chdir('..')


def data_files():
    same('data file', create('data.qcow2', options='data_file=data.raw'))
    same('raw data file', create('data-raw.qcow2', options='data_file=raw.raw,data_file_raw=on'))
    os.remove('data.raw')
    same('data file that is not there', 'data.qcow2')


def snapshot_entry(name):
    return struct.unpack('>Q', peek(name, 64, 8))[0]


def snapshots():
    name = create('snapshots.qcow2')
    for tag in ('s1', 'sixteen chars 16', 'seventeen chars17', 'a name that is longer than the column',
                'gr\u00fc\u00df', '7'):
        run('qemu-img', 'snapshot', '-c', tag, name)
    for zone in 'UTC', 'EST5EDT,M3.2.0,M11.1.0', 'XXX-5:45':
        same('snapshots', name, zone=zone)
    at = snapshot_entry(name)
    # seconds, nanoseconds, clock in ns, size of the state
    for values in ((0, 0, 0, 0), (1, 999999999, 999999, 1), (0x7fffffff, 5, 3599999999999, 1000),
                   (0xffffffff, 1, 86400 * 10**9, 1 << 20), (1700000000, 1, 359999999999999, 0xffffffff),
                   (1700000000, 1, 360000000000000, 5 << 20), (1700000000, 1, 2**63 - 1, 1), (0, 1, 2**64 - 1, 1)):
        poke(name, at + 16, struct.pack('>IIQI', *values))
        poke(name, at + 40, struct.pack('>Q', values[3]))  # the 64-bit size wins
        one_of_many('snapshot %r' % (values,), name)
    for icount in 0, 1, 12345678901, 2**63 - 1, 2**64 - 1:
        poke(name, at + 56, struct.pack('>Q', icount))
        one_of_many('snapshot with icount %d' % icount, name)
    create('old.qcow2', options='compat=0.10')
    run('qemu-img', 'snapshot', '-c', 'old', 'old.qcow2')
    same('snapshot, version 2', 'old.qcow2')


def bitmaps():
    name = create('bitmaps.qcow2', options='lazy_refcounts=on')
    for i, arguments in enumerate((['-g', '512'], ['--disable'], ['-g', '2G'], ['-g', '4k', '--disable'])):
        run('qemu-img', 'bitmap', '--add', *arguments, name, 'bitmap %d \u00fc' % i)
        same('%d bitmaps' % (i + 1), name)
    kill_writer(name)
    same('bitmaps in use', name)
    poke(name, 95, b'\0')
    same('stale bitmaps', name)
    name = create('amended.qcow2')
    run('qemu-img', 'bitmap', '--add', name, 'b0')
    run('qemu-img', 'amend', '-o', 'compat=0.10', name)
    same('bitmaps in version 2', name)


def encrypted(name, *options, **more):
    chosen = 'encrypt.key-secret=s,' + ','.join(options)
    if 'encrypt.format=luks' in options:
        chosen += ',encrypt.iter-time=10'
    return create(name, *SECRET, options=chosen, **more)


def encryption():
    same('AES', encrypted('aes.qcow2', 'encrypt.format=aes'))
    name = encrypted('luks.qcow2', 'encrypt.format=luks')
    same('LUKS', name)
    # Each LUKS header that qemu-img makes costs it seconds, in which it measures how fast it is; what it shows is text.
    whole, at = peek(name, 0, os.path.getsize(name)), qtool.Qcow2(name).extension(qtool.EXT_LUKS)
    at = struct.unpack('>QQ', at)[0] + 8
    for cipher, mode, digest, key in ((b'aes', b'cbc-essiv:sha256', b'sha256', 32),
                                      (b'serpent', b'ctr-plain64', b'sha512', 32),
                                      (b'twofish', b'cbc-plain', b'sha256', 32),
                                      (b'cast5', b'ecb-plain64', b'sha1', 16)):
        with open('luks-other.qcow2', 'wb') as f:
            f.write(whole)
        poke('luks-other.qcow2', at, struct.pack('>32s32s32sII', cipher, mode, digest, *struct.unpack(
            '>I', peek(name, at + 96, 4)), key))
        same('LUKS, %s %s %s' % (cipher.decode(), mode.decode(), digest.decode()), 'luks-other.qcow2')
    run('qemu-img', 'amend', *SECRET, '--object', 'secret,id=t,data=second', '--image-opts',
        'driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename=luks.qcow2',
        '-o', 'encrypt.state=active,encrypt.new-secret=t,encrypt.keyslot=5,encrypt.iter-time=10')
    same('LUKS, two slots', 'luks.qcow2')
    name = encrypted('luks-data.qcow2', 'encrypt.format=luks', 'data_file=luks.raw', 'lazy_refcounts=on')
    same('LUKS, data file', name)
    same('AES, version 2', encrypted('aes-v2.qcow2', 'encrypt.format=aes', 'compat=0.10'))


def everything():
    create('base.qcow2')
    name = create('all.qcow2', '-F', 'qcow2', '-b', 'base.qcow2',
                  options='extended_l2=on,compression_type=zstd,lazy_refcounts=on,refcount_bits=64,cluster_size=128k')
    run('qemu-img', 'snapshot', '-c', 's1', name)
    run('qemu-img', 'bitmap', '--add', name, 'b0')
    kill_writer(name)
    same('all at once', name)


def main():
    parts = geometry, sizes, paths, data_files, snapshots, bitmaps, encryption, everything
    code = qtool.run_parts('qcbm-info.', parts, faults, lambda: '%d outputs compared, %d differ' % (compared, len(faults)))
    return code or compared == 0


if __name__ == '__main__':
    sys.exit(main())
