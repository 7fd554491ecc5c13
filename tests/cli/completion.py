#!/usr/bin/env python3
# completion.py - completion in real shells: bash and zsh at a terminal, fish by its own "complete -C"
#
# SPDX-License-Identifier: MIT
#
# usage: completion.py FOLDER, which has the scripts    environment: QCBM = path of the tool

import glob
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man')  # one for each command
PATIENCE = 120  # seconds for one answer of a shell

# A line as it is typed, up to the Tab; the line afterwards. What is not unique stays, as far as the words have in common.
LINES = [
    ('qcbm syn', 'qcbm synth '),
    ('qcbm help ext', 'qcbm help extents '),
    ('qcbm bitmap --regr', 'qcbm bitmap --regranularise='),
    ('qcbm bitmap --backing', 'qcbm bitmap --backing-chain '),
    ('qcbm info --output=h', 'qcbm info --output=human '),
    ('qcbm info --output h', 'qcbm info --output human '),
    ('qcbm info --record-d', 'qcbm info --record-dir='),
    ('qcbm info --record=ima', 'qcbm info --record=image.qcow2 '),
    ('qcbm dump image.qcow2 refc', 'qcbm dump image.qcow2 refcounts '),
    ('qcbm extents image.qcow2 before', 'qcbm extents image.qcow2 before-update '),
    ('qcbm bitmap --remove image.qcow2 mon', 'qcbm bitmap --remove image.qcow2 monday:2 '),
    ('qcbm bitmap image.qcow2 --merge=bef', 'qcbm bitmap image.qcow2 --merge=before-update '),
    ('qcbm bitmap -b image.qcow2 --merge mon', 'qcbm bitmap -b image.qcow2 --merge monday:2 '),
    ('qcbm extents image.qcow2 "two', 'qcbm extents image.qcow2 "two words" '),
    ('qcbm extents image.qcow2 \'two', 'qcbm extents image.qcow2 \'two words\' '),
    ('qcbm extents image.qcow2 two', 'qcbm extents image.qcow2 two\\ words '),
    ('qcbm extents "my disk.qcow2" on', 'qcbm extents "my disk.qcow2" only-here '),
    ('qcbm extents my\\ disk.qcow2 on', 'qcbm extents my\\ disk.qcow2 only-here '),
    ('qcbm info ima', 'qcbm info image.qcow2 '),
    ('qcbm undo image.qcow2 chan', 'qcbm undo image.qcow2 change.undo '),
    ('qcbm synth --since=ima', 'qcbm synth --since=image.qcow2 '),
    ('qcbm synth --since-snapshot=wee', 'qcbm synth --since-snapshot=wee'),
    ('qcbm synth image.qcow2 x --since-snapshot=wee', 'qcbm synth image.qcow2 x --since-snapshot=week-one '),
    ('qcbm synth --refine=z', 'qcbm synth --refine=zero '),
    ('qcbm synth --refine ima', 'qcbm synth --refine image.qcow2 '),
    ('qcbm synth image.qcow2 x --refine-against=snapshot:wee', 'qcbm synth image.qcow2 x --refine-against=snapshot:week-one '),
    ('qcbm synth image.qcow2 x --refine-against snapshot:wee', 'qcbm synth image.qcow2 x --refine-against snapshot:week-one '),
    ('qcbm synth --refine-against=ima', 'qcbm synth --refine-against=image.qcow2 '),
    ('qcbm manifest --verify=ima', 'qcbm manifest --verify=image.qcow2 '),
    ('qcbm manifest image.qcow2 --bitmap=mon', 'qcbm manifest image.qcow2 --bitmap=monday:2 '),
    ('qcbm picture --layout=h', 'qcbm picture --layout=hilbert '),
    ('qcbm picture image.qcow2 --bitmap=mon', 'qcbm picture image.qcow2 --bitmap=monday:2 '),
    ('qcbm checkpoint cre', 'qcbm checkpoint create '),
    ('qcbm checkpoint create --over', 'qcbm checkpoint create --overlay='),
    ('qcbm checkpoint recover chan', 'qcbm checkpoint recover change.undo '),
    ('qcbm help checkpoint cre', 'qcbm help checkpoint create '),
    ('qcbm checkpoint mend --disk vda=image.qcow2 bef', 'qcbm checkpoint mend --disk vda=image.qcow2 before-update '),
    ('qcbm checkpoint xml --disk=vda=image.qcow2 bef', 'qcbm checkpoint xml --disk=vda=image.qcow2 before-update '),
    ('qcbm checkpoint reclaim --disk vda=image.qcow2 --keep=bef', 'qcbm checkpoint reclaim --disk vda=image.qcow2 --keep=before-update '),
    ('qcbm checkpoint create --disk vda=image.qcow2 bef', 'qcbm checkpoint create --disk vda=image.qcow2 bef'),
    ('qcbm convert x', 'qcbm convert x'),
    ('qcbm extents change.undo a', 'qcbm extents change.undo a'),
    ('qcbm frob', 'qcbm frob'),
]

# The same with the cursor before the last word.
BEFORE = [
    ('qcbm bitmap --merge bef', ' image.qcow2', 'qcbm bitmap --merge before-update image.qcow2'),
    ('qcbm bitmap --merge=mon', ' image.qcow2', 'qcbm bitmap --merge=monday:2 image.qcow2'),
    ('qcbm extents ima', ' monday:2', 'qcbm extents image.qcow2 monday:2'),
]

# Names of bitmaps in the image of a stranger, which no shell may take for more than a word.
HOSTILE = ['x$(touch pwned)', "it's; touch pwned; '", 'b`touch pwned`', 'd"; touch pwned; "', 'h$HOME', 'n!!', 't\\$(touch pwned)',
           'p;touch pwned', 'r&touch pwned&', 'q\'"$(touch pwned)"\'', 'z\'$(touch pwned)\'', 'w*', 'u<pwned>pwned', '~root', '#ash', '{a,b}']
# Names that a terminal would not show as they are, or a command take for an option.
HIDDEN = ['--remove', '-v', 'c1\u009bm', 'right\u202eto-left', 'isolated\u2066', 'mark\u200f']


def run(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def prepare():
    run('qemu-img', 'create', '-q', '-f', 'qcow2', 'image.qcow2', '1M')
    run('qemu-img', 'snapshot', '-c', 'week-one', 'image.qcow2')
    for name in 'before-update', 'monday:2', 'two words':
        run('qemu-img', 'bitmap', '--add', 'image.qcow2', name)
    run('qemu-img', 'create', '-q', '-f', 'qcow2', 'my disk.qcow2', '1M')
    run('qemu-img', 'bitmap', '--add', 'my disk.qcow2', 'only-here')
    run('qemu-img', 'create', '-q', '-f', 'qcow2', 'hostile.qcow2', '1M')
    for name in HOSTILE + HIDDEN:
        run('qemu-img', 'bitmap', '--add', '--', 'hostile.qcow2', name)
    with open('change.undo', 'wb') as f:
        f.write(b'no image')


class Terminal:
    """A shell at a terminal; its key Control-G prints the line as it stands between < and >."""

    def __init__(self, argv, env, setup):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, env)
        self.pid = pid
        self.text = ''
        for line in setup:
            self.type(line + '\n')
        self.type("echo rea''dy\n")
        self.wait('ready\r?\n')

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        while True:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match
            readable, _, _ = select.select([self.fd], [], [], PATIENCE)
            if not readable:
                raise SystemExit('no answer: %r in %r' % (pattern, self.text))
            self.text += os.read(self.fd, 65536).decode('utf-8', 'replace')

    def complete(self, line, rest=''):
        # Control-E and Control-U empty the line, Control-B goes back
        self.type('\x05\x15' + line + rest + '\x02' * len(rest) + '\t\x07')
        return self.wait('<<([^\r\n]*)>>').group(1)

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def bash(scripts, env):
    return Terminal(['bash', '--norc', '--noprofile', '-i'], env, [
        'bind "set enable-bracketed-paste off"', 'bind "set show-all-if-ambiguous off"', 'bind "set bell-style none"',
        'bind -x \'"\\C-g": printf "<<%s>>\\n" "$READLINE_LINE"\'', 'source "%s/qcbm.bash"' % scripts])


def zsh(scripts, env):
    return Terminal(['zsh', '-f', '-i'], env, [
        'unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste; PS1="> "', 'setopt no_list_beep no_auto_list',
        'fpath=("%s" $fpath); autoload -Uz compinit; compinit -u -D' % scripts,
        'show() { print -r -- "<<$BUFFER>>"; zle redisplay }; zle -N show; bindkey -e; bindkey "^G" show'])


def last_word(name, line):
    """What the command would get from the shell, which runs what there is to run; None: the line is not complete."""
    argv = [name] + (['-f'] if name == 'zsh' else ['--norc'])
    done = subprocess.run(argv + ['-c', 'qcbm() { for last; do :; done; printf %s "$last"; }\n' + line],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 and not done.stderr else None


def of_a_stranger(name, shell):
    """A name is completed as the one word that it is, or not at all; without quotes it is."""
    failed = 0
    for bitmap in HOSTILE:
        for quote in '', '"', "'", '--merge="', "--merge='":
            typed = 'qcbm bitmap hostile.qcow2 ' + ('--merge ' if quote in ('', '"', "'") else '') + quote
            typed += bitmap[0] if quote[-1:] in ('"', "'") or bitmap[0].isalpha() else '\\' + bitmap[0]
            got = shell.complete(typed).rstrip(' ')
            word = (last_word(name, got) or '').replace('\\!', '!').removeprefix('--merge=')  # "\\!" is "!" at a terminal
            if os.path.exists('pwned') or (got != typed and word != bitmap) or (
                    got == typed and not quote):
                failed += 1
                print('FAIL %s: %r became %r, which is %r' % (name, typed, got, word))
            if os.path.exists('pwned'):
                os.unlink('pwned')
    print('%s: %d names of a stranger, %d failed' % (name, len(HOSTILE), failed))
    return failed


def hidden():
    out = subprocess.run(['qcbm', 'complete', '--', 'extents', 'hostile.qcow2', ''], capture_output=True, text=True,
                         check=True).stdout
    names = [row.split('\t')[0] for row in out.splitlines()[1:]]
    if sorted(names) != sorted(HOSTILE):
        print('FAIL names: %r' % names)
        return 1
    return 0


def at_terminal(name, shell, skip=()):
    failed = 0
    for line, expected in LINES:
        got = shell.complete(line)
        if got.rstrip(' ') != expected.rstrip(' ') or (expected.endswith('=') and got != expected):
            failed += 1
            print('FAIL %s: %r became %r, not %r' % (name, line, got, expected))
    for line, rest, expected in BEFORE:
        got = re.sub(' +', ' ', shell.complete(line, rest))
        if got != expected:
            failed += 1
            print('FAIL %s: %r before %r became %r, not %r' % (name, line, rest, got, expected))
    failed += of_a_stranger(name, shell)
    shell.close()
    print('%s: %d lines, %d failed' % (name, len(LINES) + len(BEFORE), failed))
    return failed


def fish(scripts, env):
    failed = 0
    for line, expected in LINES:
        done = subprocess.run(['fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]',
                               scripts + '/qcbm.fish', line], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=True)
        words = [row.split('\t')[0] for row in done.stdout.splitlines()]
        # it gives the words themselves: the last one of the line, without the quotes that the shell will add
        wanted = [] if line == expected else [expected.rstrip(' ')[len(line) - len(re.split(r'(?<!\\) ', line)[-1]):].replace('\\ ', ' ').strip('"\'')]
        if words != wanted or done.stderr:
            failed += 1
            print('FAIL fish: %r gives %r, not %r %s' % (line, words, wanted, done.stderr))
    print('fish: %d lines, %d failed' % (len(LINES), failed))
    return failed


def ask(*words):
    """The words that can follow, each with what is said of it."""
    out = subprocess.run(['qcbm', 'complete', '--', *words], capture_output=True, text=True, check=True).stdout
    return [row.split('\t') for row in out.splitlines()[1:]]


def many():
    """Words are given once, all of them, and each option of each command with what --help says of it."""
    commands = [word for word, _ in ask('') if word != 'help']
    pages = glob.glob(os.path.join(PAGES, 'qcbm-*.1'))
    failed = sorted(commands) != sorted(os.path.basename(page)[len('qcbm-'):-len('.1')] for page in pages)
    for command in commands:
        told = ask(command, '--')
        shown = subprocess.run(['qcbm', command, '--help'], capture_output=True, text=True, check=True).stdout
        options = re.findall(r'^ +(?:-.,)? +?(--[a-z0-9-]+)', shown, re.M)
        if sorted(w.rstrip('=') for w, _ in told) != sorted(options) or not all(about in shown for _, about in told):
            print('FAIL options of %s: %r, --help has %r' % (command, told, options))
            failed += 1
    return failed


def main():
    scripts, tool = os.path.abspath(sys.argv[1]), os.path.abspath(os.environ['QCBM'])
    with tempfile.TemporaryDirectory(prefix='qcbm-completion.') as scratch:
        os.mkdir(scratch + '/bin')
        os.mkdir(scratch + '/work')
        os.symlink(tool, scratch + '/bin/qcbm')
        os.chdir(scratch + '/work')
        os.environ.update(PATH=scratch + '/bin:' + os.environ['PATH'], HOME=scratch, LC_ALL='C.UTF-8', TERM='dumb')
        env = dict(os.environ)
        env.pop('ENV', None)
        prepare()
        failed = many() + hidden()
        for name in 'bash', 'zsh', 'fish':
            if not shutil.which(name):
                raise SystemExit('%s is not installed: scripts/install-deps.sh test' % name)
        failed += at_terminal('bash', bash(scripts, env))
        failed += at_terminal('zsh', zsh(scripts, env))
        failed += fish(scripts, env)
        os.chdir('/')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
