# combinations.sh - an option that does not go with a verb is refused in the same words whatever the verb is
# SPDX-License-Identifier: MIT
operations='add remove clear enable disable merge=s intersect=s subtract=s rename=n rotate=n regranularise=4k set=0:1 unset=0:1 import=f'
alone='export=o copy-to=i collect=s commit-into=x prune=p list'

# The first line is WORDS: says WORDS ARGUMENT...
says() {
    local words=$1
    shift
    qcbm bitmap "$@" 2>err && complain "accepted: $*"
    [ "$(head -n 1 err)" = "qcbm: $words" ] || complain "$*: $(cat err)"
}
# Is the verb one of those? A value behind it does not count.
is() {
    local verb=${1%%=*}
    shift
    [[ " $* " == *" $verb "* ]]
}

for verb in $operations $alone; do
    is "$verb" list prune || says '--chain goes with --list or --prune' "--$verb" --chain a b
    is "$verb" copy-to collect || says '--as goes with --copy-to or --collect' "--$verb" --as n a b
    is "$verb" prune || says '--keep goes with --prune' "--$verb" --keep 1 a b
    is "$verb" export import || {
        says '--format and --force go with --export or --import' "--$verb" --format raw a b
        says '--format and --force go with --export or --import' "--$verb" --force a b
    }
    is "$verb" merge copy-to import || says '--grown goes with --merge, --copy-to or --import' "--$verb" --grown a b
    says '--bit-order goes with --format=raw' "--$verb" --bit-order lsb a b
done
for verb in $operations; do
    is "$verb" add import || says 'granularity only supported with --add' "--$verb" -g 4k a b
    is "$verb" merge intersect subtract || says 'Merge bitmap source file only supported with --merge' "--$verb" -b x a b
    says '-F only supported with -b' "--$verb" -F qcow2 a b
    says 'Expecting filename and bitmap name' "--$verb" a
    says 'Expecting filename and bitmap name' "--$verb" a b c
    says '-U is for reading only: use it with --list, --export or --dry-run' "--$verb" -U a b
done
for verb in $alone; do
    words="--${verb%%=*} cannot be combined with an operation or its options"
    for more in --add --import=f -g4k '-b x' -Fqcow2; do
        # shellcheck disable=SC2086
        says "$words" "--$verb" $more a b
    done
    is "$verb" copy-to collect commit-into prune || says "$words" "--$verb" --undo u a b
    is "$verb" list && says "$words" "--$verb" --dry-run a
    is "$verb" list export || says '-U is for reading only: use it with --list, --export or --dry-run' "--$verb" -U a b
    is "$verb" list prune collect commit-into || says 'Expecting filename and bitmap name' "--$verb" a
    is "$verb" list prune collect commit-into || says 'Expecting filename and bitmap name' "--$verb" a b c
    is "$verb" list prune collect commit-into && says 'Expecting one image file name' "--$verb" a b
    for other in $alone; do
        [ "$other" = "$verb" ] || says "$words" "--$verb" "--$other" a b
    done
done
true
