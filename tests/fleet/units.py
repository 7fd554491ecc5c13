#!/usr/bin/env python3
# units.py - the units of systemd by systemd-analyze; the manifest of Kubernetes by the fields that its reference has
#
# SPDX-License-Identifier: MIT
#
# usage: units.py    environment: QCBM = path of the tool

import os
import shutil
import subprocess

import yaml

import fleet
from fleet import HOME, require, require_equal

# Of the reference of the API, version 1.27: what an object may have here, and of what kind that is. '*': has to.
TEXT, NUMBER, FLAG = str, int, bool
META = {'*name': TEXT, 'labels': dict, 'annotations': dict}
MOUNT = {'*name': TEXT, '*mountPath': TEXT, 'readOnly': FLAG, 'subPath': TEXT}
CONTAINER = {
    '*name': TEXT, '*image': TEXT, 'command': [TEXT], 'args': [TEXT], 'env': [{'*name': TEXT, 'value': TEXT}],
    'resources': {'requests': dict, 'limits': dict}, 'volumeMounts': [MOUNT],
    'securityContext': {'allowPrivilegeEscalation': FLAG, 'runAsUser': NUMBER,
                        'capabilities': {'drop': [TEXT], 'add': [TEXT]}}}
VOLUME = {'*name': TEXT, 'configMap': {'*name': TEXT}, 'persistentVolumeClaim': {'*claimName': TEXT, 'readOnly': FLAG}}
POD = {'*restartPolicy': TEXT, '*containers': [CONTAINER], 'volumes': [VOLUME], 'nodeSelector': dict}
RULE = {'*action': TEXT, 'onExitCodes': {'containerName': TEXT, '*operator': TEXT, '*values': [NUMBER]},
        'onPodConditions': [{'*type': TEXT, '*status': TEXT}]}
JOB = {'completionMode': TEXT, 'completions': NUMBER, 'parallelism': NUMBER, 'backoffLimit': NUMBER,
       'activeDeadlineSeconds': NUMBER, 'ttlSecondsAfterFinished': NUMBER, 'podFailurePolicy': {'*rules': [RULE]},
       '*template': {'metadata': META, '*spec': POD}}
KINDS = {
    ('v1', 'ConfigMap'): {'*apiVersion': TEXT, '*kind': TEXT, '*metadata': META, 'data': dict},
    ('batch/v1', 'CronJob'): {
        '*apiVersion': TEXT, '*kind': TEXT, '*metadata': META,
        '*spec': {'*schedule': TEXT, 'concurrencyPolicy': TEXT, 'successfulJobsHistoryLimit': NUMBER,
                  'failedJobsHistoryLimit': NUMBER, 'startingDeadlineSeconds': NUMBER, 'suspend': FLAG,
                  'timeZone': TEXT,
                  '*jobTemplate': {'metadata': META, '*spec': JOB}}},
}


def faults(value, kind, where):
    """Where a value is not of that kind."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [where + ': no list']
        return [f for i, v in enumerate(value) for f in faults(v, kind[0], '%s[%d]' % (where, i))]
    if isinstance(kind, type):
        # a number in YAML is no text in the API, and a flag is no number
        return [] if type(value) is kind else ['%s: %r is no %s' % (where, value, kind.__name__)]
    if not isinstance(value, dict):
        return [where + ': no object']
    known = {name.lstrip('*'): k for name, k in kind.items()}
    found = ['%s.%s is missing' % (where, k[1:]) for k in kind if k.startswith('*') and k[1:] not in value]
    for name, member in value.items():
        at = where + '.' + name
        found += faults(member, known[name], at) if name in known else [at + ' is unknown']
    return found


def check_manifest(documents):
    """What is wrong with it."""
    found = []
    for document in documents:
        kind = (document.get('apiVersion'), document.get('kind'))
        found += faults(document, KINDS[kind], document['kind']) if kind in KINDS else ['%r is unknown' % (kind,)]
    if found:
        return found
    by_kind = {d['kind']: d for d in documents}
    spec = by_kind['CronJob']['spec']['jobTemplate']['spec']
    pod = spec['template']['spec']
    env = {e['name']: e['value'] for c in pod['containers'] for e in c['env']}
    # rules of the reference that are about several fields
    if spec['completionMode'] != 'Indexed' or 'completions' not in spec:
        found.append('an Indexed Job has completions')
    if env.get('FLEET_SLICES') != str(spec['completions']):
        found.append('another number of slices than of pods')
    if 'podFailurePolicy' in spec and pod['restartPolicy'] != 'Never':
        found.append('podFailurePolicy wants restartPolicy: Never')
    mounted = {m['name'] for c in pod['containers'] for m in c['volumeMounts']}
    if mounted != {v['name'] for v in pod['volumes']}:
        found.append('mounts are not the volumes')
    there = by_kind['ConfigMap']['metadata']['name']
    if any('configMap' in v and v['configMap']['name'] != there for v in pod['volumes']):
        found.append('no such ConfigMap')
    return found


def kubernetes():
    with open(HOME + '/kubernetes.yaml', encoding='utf-8') as f:
        text = f.read()
    require_equal(check_manifest(list(yaml.safe_load_all(text))), [], 'kubernetes.yaml')
    # the check finds what is wrong
    for right, wrong in (('completions: 16', 'completion: 16'), ('value: "16"', 'value: 16'),
                         ('restartPolicy: Never', 'restartPolicy: Always'), ('value: "16"', 'value: "15"'),
                         ('readOnly: true', 'readOnly: "yes"'), ('  name: qcbm-fleet\ndata', '  nam: qcbm-fleet\ndata'),
                         ('image: registry.example/qcbm:0.1.0', 'imagePullPolicy: Never'),
                         ('kind: ConfigMap', 'kind: Secret'), (', status: "True"', ''), ('status: "True"', 'status: True'),
                         ('name: config, mountPath', 'name: other, mountPath')):
        require(right in text, 'nothing to break:', right)
        require(check_manifest(list(yaml.safe_load_all(text.replace(right, wrong, 1)))), 'not found:', wrong)


def pod():
    """The command of the pods, as the kubelet runs it, with the folders in other places: all is done after them."""
    with open(HOME + '/kubernetes.yaml', encoding='utf-8') as f:
        container = list(yaml.safe_load_all(f))[1]['spec']['jobTemplate']['spec']['template']['spec']['containers'][0]
    names = fleet.make_images(20)
    os.rename(names[7], 'away')
    script = container['args'][0].replace('/usr/share/qcbm/fleet', HOME)
    script = script.replace('/config/images', os.path.abspath('list'))
    env = dict(os.environ, **{e['name']: e['value'] for e in container['env']})
    env['FLEET_RECORDS'] = os.getcwd()
    for index in range(16):
        fleet.run(*container['command'], script, env=dict(env, JOB_COMPLETION_INDEX=str(index)))
    lines = fleet.records(os.uname().nodename + '.jsonl')
    require_equal(sorted(r['image'] for r in lines), names, 'records of the pods')
    fleet.run(*container['command'], script.replace('slice.sh', 'nosuch.sh'), env=env, code=127)
    # where no image can get a record the pod has failed, and the job with it
    fleet.run(*container['command'], script, env=dict(env, FLEET_RECORDS='nosuch'), code=126)
    fleet.run(*container['command'], script, env=dict(env, FLEET_JOB='nosuch'), code=127)


def systemd():
    os.mkdir('units')
    with open(HOME + '/qcbm-fleet@.service', encoding='utf-8') as f:
        service = f.read().replace('/usr/share/qcbm/fleet', os.path.abspath(HOME))
    shutil.copy(HOME + '/qcbm-fleet@.timer', 'units')

    def verify(text):
        """What is said of the units, beside those of the system."""
        with open('units/qcbm-fleet@.service', 'w', encoding='utf-8') as f:
            f.write(text)
        names = ['qcbm-fleet@night.service', 'qcbm-fleet@night.timer']
        done = subprocess.run(['systemd-analyze', 'verify', '--man=no', *names],
                              env=dict(os.environ, SYSTEMD_UNIT_PATH=os.path.abspath('units') + ':'),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, [line for line in done.stderr.splitlines() if 'qcbm-fleet' in line]

    require_equal(verify(service), (0, []), 'systemd-analyze verify')
    for right, wrong in (('IOSchedulingClass=idle', 'IOSchedulingClass=lazy'), ('/slice.sh', '/nosuch.sh'),
                         ('Nice=', 'Nicely=')):
        code, said = verify(service.replace(right, wrong, 1))
        require(code != 0 or said, 'not found:', wrong)


with fleet.scratch():
    kubernetes()
    pod()
    systemd()
    print('units and manifest')
