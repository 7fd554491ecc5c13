#!/usr/bin/env python3
# mutants.py - faults put into the code by the hundred: which of them does no test notice?
# SPDX-License-Identifier: MIT
#
# usage: mutants.py [--count N] [--seed S] [--only TEXT] [--quick] [--list] FOLDER
#
# By hand, not in CI. FOLDER gets a copy of the tree and a build of it, and results.jsonl, so that a run that was stopped
# goes on where it was. Each mutant is one changed operator, constant or condition, or one dropped statement, in the
# sources below; only what tests it is built and run, the quick tests first, up to the first failure. What compiles to
# the same code as before is no mutant. N of them are chosen by S, spread over the files; --only takes those whose file
# name has TEXT; --quick leaves the crash tests to a later run; --list prints them. Survivors are printed at the end: each is equivalent, or a test is missing.
import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MESON = '/usr/bin/meson' if os.path.exists('/usr/bin/meson') else 'meson'
CPU_SECONDS, MEMORY = 300, 4 << 30  # of one test: a mutant may loop or allocate for ever

EDITS = 'bitmap_edit bitmap_plan bitmap_stale session'
BITMAPS = EDITS + ' bitmap_setops bitmap_transfer bitmap_ext bitmap_ext_removal bitmap_load bitmap_store bitmap_list'
HOSTILE = 'hostile_header hostile_extension hostile_l1l2 hostile_refcount hostile_snapshot hostile_bitmap_dir'
NBD = 'ahead blocks connect extents fail loop tls'
# source, below libqcbm/ or with its folder: quick tests, then slow ones
TESTS = {
    'ops/synth.c': ('synth synth_chain synth_damage', 'replay_synth_oracle cuts'),
    'ops/allocation.c': ('allocation synth synth_chain synth_damage', 'replay_synth_oracle cuts'),
    'write/clusters.c': ('clusters refcounts bitmap_edit bitmap_plan session', 'cuts too_small'),
    'write/refcounts.c': ('clusters refcounts bitmap_edit bitmap_plan session', 'cuts'),
    'write/owners.c': ('owners clusters refcounts bitmap_edit bitmap_plan session places', 'replay_edit cuts'),
    'write/plan.c': ('plan undo_save bitmap_edit bitmap_plan session', 'cuts'),
    'write/commit.c': ('plan undo_save undo undo_load bitmap_edit bitmap_plan session', 'too_small cuts faults_calls'),
    'write/header_ext.c': ('bitmap_ext bitmap_ext_removal bitmap_plan header_tag', 'cuts'),
    'write/header_tag.c': ('header_tag bitmap_plan hostile_extension', 'cuts'),
    'write/undo_save.c': ('undo_save undo undo_load', 'undo_file_cuts undo_cuts'),
    'write/undo_load.c': ('undo_save undo undo_load', 'replay_undo undo_file_cuts undo_cuts'),
    'ops/undo.c': ('undo undo_load', 'undo_cuts'),
    'format/undo_file.c': ('undo_file undo_save undo undo_load', 'undo_file_cuts'),
    'bitmap/bitmap_store.c': (BITMAPS + ' synth', 'cuts'),
    'bitmap/bitmap_plan.c': (BITMAPS + ' synth places undo_save', 'cuts undo_cuts'),
    'bitmap/bitmap_ext.c': (BITMAPS, 'cuts'),
    'bitmap/bitmap_refs.c': ('bitmap_refs owners places ' + EDITS, 'cuts'),
    'check/check.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_walk.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_sweep.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'image/table_sweep.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'image/l2_notes.c': ('l2_notes check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_count.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_tell.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_entries.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_reference.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_refcounts.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_compare.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_copied.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_bitmaps.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_owners.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_suspects.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'bitmap/leaks.c': ('check synth ' + HOSTILE, 'lost_tables'),
    'check/check_lost.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'check/check_findings.c': ('check places ' + HOSTILE + ' replay_check', 'cuts'),
    'libqcbm-nbd/nbd.c': ('', 'nbd nbd_tls'),
    **{'libqcbm-nbd/nbd_%s.c' % name: ('', 'nbd nbd_tls') for name in NBD.split()},
}
LIBRARIES = ['libqcbm', 'libqcbm-nbd']

SWAPS = [(' < ', ' <= '), (' <= ', ' < '), (' > ', ' >= '), (' >= ', ' > '), (' == ', ' != '), (' != ', ' == '),
         (' && ', ' || '), (' || ', ' && '), (' + ', ' - '), (' - ', ' + '), (' * ', ' / '), (' / ', ' * '),
         (' & ', ' | '), (' | ', ' & '), (' << ', ' >> '), (' >> ', ' << '), (' |= ', ' &= '), (' += ', ' -= '),
         ('++;', '--;'), ('u64_min(', 'u64_max('), ('u64_max(', 'u64_min('), ('align_down(', 'align_up('),
         ('align_up(', 'align_down(')]


def place(name):
    return name if name.startswith('libqcbm-nbd/') else 'libqcbm/' + name


def masked(text):
    """The text with comments, strings and preprocessor lines blanked, so that places stay the same."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#[^\n]*', re.S | re.M)
    return pattern.sub(lambda m: re.sub(r'[^\n]', ' ', m.group()), text)


def closing(code, at):
    """Place behind the parenthesis that closes the one at @at."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i] == '(') - (code[i] == ')')
        if depth == 0:
            return i + 1
    return None


def mutants_of(text):
    """(kind, place, length, replacement) of each mutant of a source."""
    code = masked(text)
    found = []
    for old, new in SWAPS:
        found += [('operator', m.start(), len(old), new) for m in re.finditer(re.escape(old), code)]
    for m in re.finditer(r'(?<![\w.])(0|[1-9]\d*)(?=[u;,) \]])', code):
        found.append(('constant', m.start(), len(m.group()), str(int(m.group()) + 1)))
    for m in re.finditer(r'\b(?:if|while) \(', code):
        end = closing(code, m.end() - 1)
        if end:
            found.append(('condition', m.end() - 1, end - m.end() + 1, '(!%s)' % code[m.end() - 1:end]))
    # calls, assignments and steps that stand alone; a declaration has a type in front, and stays
    for m in re.finditer(r'^[ ]+((?:\(void\))?[a-z]\w*\([^;{}]*\)|[*]?[a-z][\w.>\-\[\]*]*(?: [-+|&]?= [^;{}]*|\+\+|--));$', code,
                         re.M):
        if not m.group(1).startswith(('return', 'if', 'while', 'for', 'switch', '(void)')):
            found.append(('statement', m.start(1), len(m.group(1)), ''))
    return found


def describe(name, mutant, text):
    kind, at, length, new = mutant
    number = text.count('\n', 0, at) + 1
    return '%s:%d: %s: %s -> %s   | %s' % (name, number, kind, ' '.join(text[at:at + length].split()),
                                          ' '.join(new.split()) or '(nothing)', text.splitlines()[number - 1].strip())


def choose(args, texts):
    """The same mutants for the same seed; a file gets its share by the number that it has."""
    all_of = [(name, m) for name in TESTS if args.only in name for m in mutants_of(texts[name])]
    chosen = random.Random(args.seed).sample(range(len(all_of)), min(args.count, len(all_of)))
    return [all_of[i] for i in sorted(chosen)]  # file by file: less is compiled


def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(argv, **more):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', check=False,
                          stdin=subprocess.DEVNULL, **more)


class Tree:
    """The copy in which mutants are built."""

    def __init__(self, folder):
        self.src, self.build = os.path.join(folder, 'tree'), os.path.join(folder, 'build')
        self.shapes = os.path.join(folder, 'shapes')
        if not os.path.exists(self.src):
            files = subprocess.run(['git', 'ls-files', '-z'], cwd=TOP, stdout=subprocess.PIPE, check=True).stdout
            for path in files.decode().split('\0')[:-1]:
                to = os.path.join(self.src, path)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy2(os.path.join(TOP, path), to)
            for library in LIBRARIES:
                shutil.copytree(os.path.join(self.src, library), os.path.join(folder, 'unchanged', library))
        for name in TESTS:  # a run that was stopped leaves a mutant behind
            shutil.copy(os.path.join(folder, 'unchanged', place(name)), self.path(name))
        if not os.path.exists(os.path.join(self.build, 'build.ninja')):
            # no debugging information: the same code is the same object then
            subprocess.run([MESON, 'setup', '--buildtype=plain', '-Dc_args=-O1', self.build, self.src], check=True)
        subprocess.run(['ninja', '-C', self.build, '-j2'], check=True, stdout=subprocess.DEVNULL)
        if not os.path.exists(os.path.join(self.shapes, 'list')):
            os.makedirs(self.shapes, exist_ok=True)
            with open(os.path.join(self.shapes, 'list'), 'w', encoding='utf-8') as names:
                subprocess.run([os.path.join(self.src, 'tests/fixtures/make.py'), self.shapes, '@crash'], check=True,
                               stdout=names)
        with open(os.path.join(self.build, 'meson-info/intro-tests.json'), encoding='utf-8') as f:
            tests = json.load(f)
        named = ' '.join(' '.join(pair) for pair in TESTS.values()).split()
        self.tests = {test['name']: test for test in tests
                      if test['name'] in named and ('nbd' in test['name'] or 'qcbm:interop' not in test['suite'])}

    def path(self, name):
        return os.path.join(self.src, place(name))

    def shared(self, library):
        """The file of it that has all of its version in its name, as Ninja knows it."""
        folder = os.path.join(self.build, library)
        objects = next(d for d in sorted(os.listdir(folder)) if d.startswith(library + '.so') and d.endswith('.p'))
        return os.path.join(folder, objects[:-2])

    def object_digest(self, name):
        library, name = place(name).split('/', 1)
        with open(self.shared(library) + '.p/' + name.replace('/', '_') + '.o', 'rb') as f:
            return hashlib.sha256(f.read()).hexdigest()

    def make(self, name=None):
        words = [*self.tests[name]['cmd'], *self.tests[name]['env'].values()] if name else []
        paths = [os.path.join(self.build, word) for word in words]
        programs = [os.path.relpath(path, self.build) for path in paths
                    if path.startswith(self.build + '/') and os.path.isfile(path) and os.access(path, os.X_OK)]
        if name and not programs:
            raise RuntimeError('which program is the test %s?' % name)
        nbd = os.path.relpath(self.shared('libqcbm-nbd'), self.build)
        return run(['ninja', '-C', self.build, 'libqcbm/libqcbm.a', nbd, *programs]).returncode == 0

    def fails(self, name):
        test = self.tests[name]
        env = dict(os.environ, CRASH_FOLDER=self.shapes, MALLOC_PERTURB_='85', **test['env'])
        try:
            return run(test['cmd'], env=env, cwd=test['workdir'] or self.build, preexec_fn=limit,
                       timeout=4 * test['timeout']).returncode != 0
        except subprocess.TimeoutExpired:
            return True


def try_mutant(tree, name, mutant, text, before, quick):
    """'same', 'no build', the test that noticed it, or None; 'not yet' if the slow ones are left out."""
    kind, at, length, new = mutant
    with open(tree.path(name), 'w', encoding='utf-8') as f:
        f.write(text[:at] + new + text[at + length:])
    if not tree.make():
        return 'no build'
    if tree.object_digest(name) == before:
        return 'same'
    tests = ' '.join(TESTS[name][:1 if quick else 2]).split()
    return next((test for test in tests if not tree.make(test) or tree.fails(test)), 'not yet' if quick else None)


def main():
    parser = argparse.ArgumentParser(description='which faults in the code does no test notice?')
    parser.add_argument('--count', type=int, default=200)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', default='')
    parser.add_argument('--quick', action='store_true', help='leave the slow tests to a later run')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('folder')
    args = parser.parse_args()
    unchanged = os.path.join(args.folder, 'unchanged')
    texts = {}
    for name in TESTS:
        with open(os.path.join(unchanged if os.path.exists(unchanged) else TOP, place(name)), encoding='utf-8') as f:
            texts[name] = f.read()
    chosen = choose(args, texts)
    if args.list:
        for name, mutant in chosen:
            print(describe(name, mutant, texts[name]))
        return
    os.makedirs(args.folder, exist_ok=True)
    tree = Tree(os.path.abspath(args.folder))
    log = os.path.join(args.folder, 'results.jsonl')
    done = {}
    if os.path.exists(log):
        with open(log, encoding='utf-8') as f:
            done = dict(json.loads(line) for line in f)
        done = {what: found for what, found in done.items() if args.quick or found != 'not yet'}
    for number, (name, mutant) in enumerate(chosen):
        what = describe(name, mutant, texts[name])
        if what in done:
            continue
        tree.make()
        before = tree.object_digest(name)
        try:
            done[what] = try_mutant(tree, name, mutant, texts[name], before, args.quick)
        finally:
            with open(tree.path(name), 'w', encoding='utf-8') as f:
                f.write(texts[name])
        with open(log, 'a', encoding='utf-8') as f:
            f.write(json.dumps([what, done[what]]) + '\n')
        print('%d/%d %s: %s' % (number + 1, len(chosen), done[what] or 'SURVIVES', what), flush=True)
    chosen_results = [(what, done[what]) for what in (describe(n, m, texts[n]) for n, m in chosen)]
    survivors = [what for what, found in chosen_results if found in (None, 'not yet')]
    noticed = sum(found not in (None, 'not yet', 'same', 'no build') for _, found in chosen_results)
    print('\n'.join(['survivors:'] + survivors))
    print('%d mutants: %d noticed, %d survive, %d same code, %d do not compile' % (
        len(chosen), noticed, len(survivors), sum(f == 'same' for _, f in chosen_results),
        sum(f == 'no build' for _, f in chosen_results)))


main()
