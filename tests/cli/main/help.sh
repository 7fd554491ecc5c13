# help.sh - the commands are listed; help shows the options of one
# SPDX-License-Identifier: MIT
qcbm --help
qcbm --help >long
for arguments in 'help' '-h' 'help help'; do
    # shellcheck disable=SC2086
    qcbm $arguments | diff long - || complain "$arguments"
done
for command in $(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' long); do
    [ "$command" = help ] || qcbm help "$command" | diff <(qcbm "$command" --help) -
    [ "$command" = help ] || qcbm "$command" --help | grep -q "^Usage: qcbm $command "
done
