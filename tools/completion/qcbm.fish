# qcbm.fish - completion for fish
# SPDX-License-Identifier: MIT

function __qcbm_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l tool $words[1]
    set -e words[1]
    set -l reply ($tool complete -- $words (string unescape -- $typed; or echo $typed) 2>/dev/null)
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
