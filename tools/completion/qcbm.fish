# qcbm.fish - completion for fish
# SPDX-License-Identifier: MIT

function __qcbm_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l tool $words[1]
    set -l all (commandline -o)
    set -l first (math (count $words) + 1)
    test -n "$typed"; and set first (math $first + 1) # the word itself
    set -l behind $all[$first..-1]
    test $first -le (count $all); or set behind
    set -e words[1]
    set -l reply ($tool complete --behind=(count $behind) -- $words (string unescape -- $typed; or echo $typed) $behind 2>/dev/null)
    if test "$reply[1]" = words
        set -e reply[1]
        printf '%s\n' $reply
        return
    end
    set -l before (string match -r -- '^--[^=]+=' $typed)
    for path in (__fish_complete_path (string replace -r -- '^--[^=]+=' '' $typed))
        echo "$before"$path
    end
end

complete -c qcbm -f -a '(__qcbm_complete)'
