# usage_errors.sh - what does not go together is refused, and nothing is written
# SPDX-License-Identifier: MIT
fixture one-bitmaps
: >there.png
for arguments in '' '--host --chain' '--chain --against=image.qcow2' '-b b0 -b frozen --against=image.qcow2' \
    '--layout=spiral' '--theme=blue' '-b a -b b -b c -b d -b e -b f -b g' '--width=5000' '--width=0' '--width=20 --layout=hilbert' '--as=svg' '-o x.jpg' '-o -' \
    '-o - --as=png --output=json' '-b none -o x.svg' '-o there.png' '--force --as=svg -o image.qcow2'; do
    # shellcheck disable=SC2086
    if unchanged image.qcow2 qcbm picture $arguments ${arguments:+image.qcow2} >out; then
        complain "accepted: $arguments"
    fi
    [ ! -s out ] || complain "stdout is not empty: $arguments"
done
fails qcbm picture -o x.svg missing.qcow2
rm out fails.out fails.err
ls
