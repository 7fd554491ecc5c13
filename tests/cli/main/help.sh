# help.sh - the commands are listed; help shows the options of one
# SPDX-License-Identifier: MIT
qcbm --help
qcbm --help >long
for arguments in 'help' '-h' 'help help'; do
    # shellcheck disable=SC2086
    qcbm $arguments | diff long - || complain "$arguments"
done
sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' long | grep -vx help >commands
while read -r command; do
    qcbm help "$command" | diff <(qcbm "$command" --help) -
    grep -q "^Usage: qcbm $command " <(qcbm "$command" --help)
done <commands
[ "$(wc -l <commands)" -ge 10 ] || complain 'commands are missing'
