# qcbm.bash - completion for bash
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

_qcbm() {
    local rest=${COMP_LINE:0:COMP_POINT} word blank typed value i
    local after=${COMP_LINE:COMP_POINT}
    local -a words=() reply=() behind=()

    # Readline cuts words at "=" and ":", qcbm does not.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        blank=${rest%%[![:blank:]]*}
        rest=${rest#"$blank"}
        [[ $rest == "$word"* ]] || word=$rest # the cursor is within it
        rest=${rest#"$word"}
        if [[ $i -gt 0 && -z $blank ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    [[ $word != [=:] ]] || word=
    typed=${words[-1]}
    value=${typed#--*=}
    for i in "${!words[@]}"; do # as the command will see them, as far as that can be told without running anything
        words[i]=${words[i]/#\~\//"$HOME/"}
        words[i]=${words[i]//[\\\"\']/}
    done
    case $after in
        [[:blank:]]*) ;;
        *[[:blank:]]*) after=${after#*[[:blank:]]} ;; # without the rest of the word itself
        *) after= ;;
    esac
    read -ra behind <<<"$after"
    behind=("${behind[@]//[\\\"\']/}")
    mapfile -t reply < <("${words[0]}" complete "--behind=${#behind[@]}" -- "${words[@]:1}" "${behind[@]}" 2>/dev/null)
    COMPREPLY=()
    [[ ${reply[0]-} == words ]] || return 0 # names of files: readline has them
    compopt +o default
    for i in "${reply[@]:1}"; do
        i=${i%%$'\t'*}
        # The image may be a stranger's: behind a quote, nothing that could end it or mean something within it.
        if [[ $typed != *[\"\']* ]]; then
            printf -v i %q "$i"
        elif [[ $value == ?*[\"\']* || $i == *[!a-zA-Z0-9._:+@%=,\ -]* ]]; then
            continue
        fi
        COMPREPLY+=("${i#"${typed%"$word"}"}")
    done
    [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}

complete -o default -F _qcbm qcbm
