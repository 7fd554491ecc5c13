#!/usr/bin/env python3
# slurm.py - the array of contrib/fleet on a Slurm of one node, started here: from sbatch to the answers in databases;
# a task that is killed with all it has started is found, and what it had left is run
#
# SPDX-License-Identifier: MIT
#
# usage: slurm.py [--full]    environment: QCBM = path of the tool

import glob
import os
import pwd
import shutil
import socket
import subprocess
import time

import fleet
from fleet import ask, load, require, require_equal

CONF = '''
ClusterName=fleet
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
JobRequeue=0
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1024 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
'''


def two_ports():
    """Free ones; both sockets are open until both are known."""
    with socket.socket() as a, socket.socket() as b:
        for s in a, b:
            s.bind(('127.0.0.1', 0))
        return a.getsockname()[1], b.getsockname()[1]


class Slurm:
    """munged, slurmctld and slurmd by this user, in a folder of their own."""

    def __init__(self):
        self.here = os.path.abspath('slurm')
        os.makedirs(self.here + '/state')
        os.mkdir(self.here + '/spool')
        with open(self.here + '/key', 'wb') as f:
            f.write(os.urandom(1024))
        os.chmod(self.here + '/key', 0o400)
        with open(self.here + '/slurm.conf', 'w', encoding='utf-8') as f:
            f.write(CONF.format(here=self.here, user=pwd.getpwuid(os.getuid()).pw_name, ports=two_ports(),
                                host=socket.gethostname().split('.')[0], cpus=os.cpu_count()))
        os.environ['SLURM_CONF'] = self.here + '/slurm.conf'
        os.environ['PATH'] += ':/usr/sbin:/sbin'
        self.daemons = []

    def start(self, *argv):
        with open('%s/%s.out' % (self.here, argv[0]), 'wb') as out:
            self.daemons.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                 start_new_session=True))

    def wait(self, what, answer, *argv):
        for _ in range(1200):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode == 0 and answer in done.stdout:
                return
            require(all(d.poll() is None for d in self.daemons), what, ': a daemon has ended: ' + self.said())
            time.sleep(0.1)
        require(False, what, 'is not there: ' + self.said())

    def said(self):
        return ''.join(open(path, encoding='utf-8').read()[-2000:] for path in glob.glob(self.here + '/*.out'))

    def __enter__(self):
        # a folder of others above the socket is a warning, no more, with --force
        files = {'key-file': 'key', 'socket': 'munge.socket', 'pid-file': 'pid', 'log-file': 'log', 'seed-file': 'seed'}
        files = ['--%s=%s/%s' % (option, self.here, name) for option, name in files.items()]
        self.start('munged', '--foreground', '--force', *files)
        self.wait('munge', '', 'munge', '--no-input', files[1])
        self.start('slurmctld', '-D')
        self.wait('slurmctld', 'UP', 'scontrol', 'ping')
        self.start('slurmd', '-D')
        self.wait('slurmd', 'idle', 'sinfo', '--noheader', '--format=%T')
        return self

    def __exit__(self, *error):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def array(slices, code=0):
    fleet.run('sbatch', '--wait', '--quiet', '--mem=0', '--array=' + slices, fleet.HOME + '/fleet.sbatch',
              os.path.abspath('list'), code=code)


def stop_at(image):
    """The task that comes to that image is ended, as by a node that goes down: the shell, and what it has started."""
    real = os.path.realpath('bin/qcbm')
    os.unlink('bin/qcbm')
    with open('bin/qcbm', 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\ncase "$*" in *%s*) kill -KILL $PPID $$ ;; esac\nexec %s "$@"\n' % (image, real))
    os.chmod('bin/qcbm', 0o755)
    return real


def night(names, databases):
    slices = 100 if fleet.FULL else 8
    lines = os.uname().nodename + '.jsonl'
    real = stop_at('vm-%04d' % (slices + 3))  # the second image of slice 3
    begin = time.monotonic()
    array('0-%d' % (slices - 1), code=1)
    print('%d images in %d tasks: %.0f s' % (len(names), slices, time.monotonic() - begin))
    lost = names[slices + 3::slices]
    for engine, database in databases:
        load(engine, database, lines)
        require_equal([row[0] for row in ask(engine, database, 2)], lost, engine + ': not run')
        require_equal([row[0] for row in ask(engine, database, 1)], lost, engine + ': without a checkpoint')
    os.unlink('bin/qcbm')
    os.symlink(real, 'bin/qcbm')
    # the list of what was not run is a list
    shutil.copy('list', 'all')
    with open('list', 'w', encoding='utf-8') as f:
        f.writelines(row[0] + '\n' for row in ask('sqlite', 'fleet.db', 2))
    array('0-1')
    shutil.copy('all', 'list')
    for engine, database in databases:
        load(engine, database, lines)
        for number in 1, 2, 5:
            require_equal(ask(engine, database, number), [], '%s: question %d' % (engine, number))
        require_equal(ask(engine, database, 8), [(len(names), 8192 * len(names), len(names) << 20)], engine + ': sizes')
        require_equal(ask(engine, database, 10)[0][2:4], (len(names), len(names)), engine + ': runs')
    require_equal(sorted(r['image'] for r in fleet.records(lines)), names, 'records')
    print('%d were lost with a task, found and run' % len(lost))


with fleet.scratch() as folder:
    images = fleet.make_images(fleet.count(48, 24))
    os.environ['FLEET_RECORDS'] = os.getcwd()
    with Slurm(), fleet.PostgreSQL() as server:
        night(images, [('sqlite', 'fleet.db'), ('postgresql', server.database)])
