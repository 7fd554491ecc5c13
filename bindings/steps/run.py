#!/usr/bin/env python3
"""run.py STEPS NAME=COMMAND... - the steps of file STEPS by each program, on the same images: the same JSON, the same files

SPDX-License-Identifier: MIT

The first program is the measure. With VALGRIND=1 each COMMAND, which gets the steps as its last word, runs below valgrind:
no leak, no descriptor left, no bad access.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile


def make_images(folder):
    for line in ('qemu-img create -q -f qcow2 base.qcow2 4M',
                 'qemu-io -f qcow2 -c "write -P 1 0 1M" -c "write -P 2 3M 64k" base.qcow2',
                 'qemu-img convert -O raw base.qcow2 disk.raw',
                 'qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2',
                 'qemu-io -f qcow2 -c "write -P 3 64k 4k" -c "write -P 4 1M 128k" -c "write -z 2M 64k" overlay.qcow2',
                 'qemu-img create -q -f qcow2 second.qcow2 1M'):
        subprocess.run(line, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL)


def files_of(folder):
    """But for what is written when it is written: an id beside a disk has its time."""
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), 'rb') as f:
            found[name] = hashlib.sha256(f.read()).hexdigest() if not name.endswith('.qcbm-id') else None
    return found


def run(command, images, steps, valgrind):
    """What it prints, and what it leaves."""
    with tempfile.TemporaryDirectory(prefix='qcbm-steps.') as folder:
        shutil.copytree(images, folder, dirs_exist_ok=True)
        shutil.copy(steps, os.path.join(folder, 'steps.txt'))
        words = command.split()
        if valgrind:
            words = ['valgrind', '-q', '--leak-check=full', '--error-exitcode=9', '--track-fds=yes', *words]
        done = subprocess.run([*words, 'steps.txt'], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0 or (valgrind and 'Open file' in done.stderr.replace('<inherited from parent>', '')):
            sys.exit(f'{command}: exit code {done.returncode}:\n{done.stderr}')
        return done.stdout, files_of(folder)


def main(steps, *programs):
    valgrind = os.environ.get('VALGRIND') == '1'
    with tempfile.TemporaryDirectory(prefix='qcbm-steps-images.') as images:
        make_images(images)
        expected = None
        for program in programs:
            name, command = program.split('=', 1)
            said = run(command, images, steps, valgrind)
            lines = [json.loads(line) for line in said[0].splitlines()]
            errors = sum('error' in line for line in lines)
            if len(lines) < 60 or not 10 < errors < 30:
                sys.exit(f'{name}: {len(lines)} lines, {errors} errors')
            expected = expected or said
            for here, there in zip(said[0].splitlines(), expected[0].splitlines()):
                if here != there:
                    sys.exit(f'{name} prints\n{here}\nand not\n{there}')
            if said[1] != expected[1]:
                sys.exit(f'{name} leaves other files: {set(said[1].items()) ^ set(expected[1].items())}')
            print(f'{name}: {len(lines)} steps, {errors} of them errors, {len(said[1])} files')


if __name__ == '__main__':
    main(*sys.argv[1:])
