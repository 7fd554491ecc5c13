#!/usr/bin/env bash
# docs_paths.sh - every path of the tree that a document names exists, and docs/layout.md names every source file
#
# SPDX-License-Identifier: MIT
#
# Looked at: words in backticks and targets of links in *.md and docs/*.md. A word is taken for a path if it begins with
# a folder of the tree (or a layer of libqcbm), or is the name of a document. Wildcards must match something.
set -euo pipefail
cd "$SOURCE_ROOT"
bad=0
seen=0

exists() {
    local place match
    for place in "$1" "libqcbm/$1"; do
        while IFS= read -r match; do
            [ ! -e "$match" ] || return 0
        done < <(compgen -G "$place" || true)
    done
    return 1
}

check() {
    seen=$((seen + 1))
    exists "$2" || {
        echo "$1: no such path: $2"
        bad=1
    }
}

for document in *.md docs/*.md; do
    # Fenced blocks are sessions and programs; their paths are the reader's.
    text=$(awk '/^[[:space:]]*```/ { fenced = !fenced; next } !fenced' "$document")
    # shellcheck disable=SC2016 # the backticks are markdown's
    while IFS= read -r word; do
        case "$word" in
            *[[:space:]]* | *'<'* | /*) ;;
            build*) ;;
            libqcbm/* | tools/* | tests/* | docs/* | examples/* | scripts/* | .ci/* | fuzz/* | bench/* | bindings/* | packaging/*)
                check "$document" "$word"
                ;;
            base/* | format/* | io/* | image/* | write/* | bitmap/* | check/* | dump/* | ops/* | api/* | include/*) check "$document" "$word" ;;
            *.md) check "$document" "$word" ;;
        esac
    done < <(grep -oE '`[^`]+`' <<<"$text" | tr -d '`' | sort -u)
    while IFS= read -r target; do
        case "$target" in
            *://* | '#'*) ;;
            *)
                seen=$((seen + 1))
                [ -e "$(dirname "$document")/${target%%#*}" ] || {
                    echo "$document: link to nowhere: $target"
                    bad=1
                }
                ;;
        esac
    done < <(grep -oE '\]\([^)]+\)' <<<"$text" | sed -E 's/^\]\((.*)\)$/\1/' | sort -u)
done

for source in libqcbm/*/*.c tools/*.c examples/*.c; do
    [ -f "$source" ] || continue
    seen=$((seen + 1))
    grep -qF -- "${source##*/}" docs/layout.md 2>/dev/null || {
        echo "docs/layout.md does not say what $source is for"
        bad=1
    }
done

[ "$seen" -gt 30 ] || {
    echo "only $seen paths seen"
    exit 1
}
[ "$bad" -eq 0 ] || exit 1
echo "$seen paths"
