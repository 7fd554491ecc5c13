# usage_errors.sh - wrong use is refused
# SPDX-License-Identifier: MIT
for arguments in '' 'a' 'a b c' '--replace --merge a b' '--since' '--frob a b' '-g 1x a b' '--output=xml a b' '-U a b' \
    '-U --into a a b' '--image-opts a b' \
    '--snapshot s a b' '--since-snapshot s --since c a b' '--since-snapshot s --dirty-tail a b' '--like c --since-snapshot s a' \
    '--refine=all a b' '--refine --dirty-tail a b' '--refine --like c a'; do
    # shellcheck disable=SC2086
    if qcbm synth $arguments; then
        complain "accepted: $arguments"
    fi
done
