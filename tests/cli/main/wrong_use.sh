# wrong_use.sh - what is no command is refused as qemu-img refuses it, with a hint where one can be given
# SPDX-License-Identifier: MIT
for arguments in 'frobnicate' '--frobnicate' '-X info' 'synht' 'bitmpa --list x' 'ex' 'convert a b' 'rebase' 'list x' 'add' 'repair x' \
    'mesaure' 'help frobnicate' 'help snyth' 'help resize' 'm'; do
    # shellcheck disable=SC2086
    if qcbm $arguments; then
        complain "accepted: $arguments"
    fi
done 2>&1 | grep -v '^Try'
# of options: typing errors, beginnings of several, and none that is near
for arguments in 'synth --granularty=4k' 'synth --sicne' 'bitmap --re' 'bitmap --lst' 'bitmap --zzzzzz' 'check --x' \
    'check -y' 'measure --sizes=3' 'info --hlep'; do
    # shellcheck disable=SC2086
    if qcbm $arguments; then
        complain "accepted: $arguments"
    fi
done 2>&1 | grep -v '^Try'
# alone: the list of commands, on stderr, since it is an error
code=0
qcbm >out 2>err || code=$?
[ "$code,$(wc -c <out)" = 1,0 ] || complain "exit code $code, or something on stdout"
head -n 1 err
qcbm --help | diff - <(tail -n +2 err)
# in front of nothing but a mistyped name, the words of an image stay escaped
qcbm "$(printf 'syn\033[31mth')" 2>&1 | grep -c '\\x1b'
# help on help is what there is to know
qcbm --help | diff - <(qcbm help --help)
qcbm --help | diff - <(qcbm help -h)
