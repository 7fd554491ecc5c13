# lib.sh - what the cases of the command line tests share; loaded by run.py
#
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

# Images of tests/fixtures, in the current folder: ten-overlay (base.qcow2, overlay.qcow2), one-bitmaps and one-in-use
# (image.qcow2). What is in them is in the name of each.
fixture() { # CASE...
    "$CLI_DIR/../fixtures/make.py" . "$@" >/dev/null
}

# A program that has an image open for writing until the case ends: start_writer FILE
start_writer() {
    qemu-nbd --fork --persistent --format=qcow2 --socket="$PWD/writer.sock" --pid-file="$PWD/writer.pid" "$1"
    trap 'kill "$(cat writer.pid)"' EXIT
}

# Write bytes, in hex, into a file: poke FILE OFFSET HEX
poke() {
    python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2], 0))
    f.write(bytes.fromhex(sys.argv[3]))' "$@"
}

# Big-endian integer of a file, in decimal: peek FILE OFFSET LENGTH
peek() {
    python3 -c 'import sys
with open(sys.argv[1], "rb") as f:
    f.seek(int(sys.argv[2], 0))
    print(int.from_bytes(f.read(int(sys.argv[3])), "big"))' "$@"
}

# The directory of bitmaps of image.qcow2, which has the extension at 504, as qemu-img writes it for version 3.
bitmap_directory() {
    peek image.qcow2 528 8
}

complain() {
    echo "case: $*" >&2
    return 1
}

# Run a command that must leave FILE as it is, whatever its exit code, which is returned: unchanged FILE COMMAND...
unchanged() {
    local file=$1 before code=0
    shift
    before=$(sha256sum <"$file")
    "$@" || code=$?
    [ "$(sha256sum <"$file")" = "$before" ] || complain "$file has changed: $*"
    return "$code"
}

# Run a command that must fail with exit code 1, print nothing on stdout, and one line on stderr besides hints; it is shown.
fails() {
    local code=0
    "$@" >fails.out 2>fails.err || code=$?
    [ "$code" -eq 1 ] || complain "exit code $code, not 1: $*"
    [ ! -s fails.out ] || complain "stdout is not empty: $*"
    [ "$(grep -vc '^qcbm: hint: ' fails.err)" -eq 1 ] || complain "not one line on stderr: $*: $(cat fails.err)"
    cat fails.err >&2
}

# A Python expression on the JSON that a command printed must be true; v is the value: json EXPRESSION COMMAND...
json() {
    local test=$1
    shift
    "$@" >json.out
    python3 -c 'import json, sys
v = json.load(open("json.out"))
if not eval("(" + sys.argv[1] + ")"):
    sys.exit("case: not so: %s\n%s" % (sys.argv[1], json.dumps(v, indent=4)))' "$test"
}

# Standard input, printed by qcbm, as the qemu-img on PATH prints it, which may know less: as_qemu_img COMMAND [json]
as_qemu_img() {
    python3 "$CLI_DIR/../interop/older.py" "$@"
}

# What qemu-img COMMAND says about wrong use, in the words of 7.2, which qcbm keeps: words_of_7_2 COMMAND
words_of_7_2() {
    sed -E -e "s/^qemu-img( $1)?: /qcbm: /" \
        -e "s/: invalid option -- '(.)'/: unrecognized option '-\1'/" \
        -e "s/: option requires an argument -- '(.)'/: missing argument for option '-\1'/" \
        -e "s/: option '(--[a-z-]*)' requires an argument/: missing argument for option '\1'/" \
        -e "/ --output expects /{N;s/expects.*/must be used with human or json as argument./}" \
        -e "/You may use k, M, G/{N;s/specified.*/specified/}" \
        -e "s/^Try 'qemu-img .*--help' for more info.*/Try 'qcbm $1 --help' for more information/"
}

# Run the same arguments with qcbm and qemu-img, each on what prepare() makes: output, messages and exit codes must be
# equal.
# prepare() is the case's; WORDS is a sed script for words that rightly differ.
same_as_qemu_img() {
    local side ours=0 theirs=0
    rm -rf ours theirs
    for side in ours theirs; do
        mkdir "$side"
        (cd "$side" && prepare)
    done
    (cd ours && qcbm "$@") >ours.out 2>ours.err || ours=$?
    (cd theirs && qemu-img "$@") >theirs.out 2>theirs.raw || theirs=$?
    sed -i '/^qcbm: hint: /d' ours.err # which qemu-img does not give
    words_of_7_2 "$1" <theirs.raw | sed -e "${WORDS:-}" >theirs.err
    if grep -q 'You may use k, M, G' theirs.raw; then # 7.2 does not say which size it does not understand
        sed -i "s/ specified: '.*'\\.$/ specified/" ours.err
    fi
    [ "$ours" = "$theirs" ] || complain "exit code $ours, of qemu-img $theirs: $*"
    diff -u --label qemu-img --label qcbm theirs.err ours.err >&2 || complain "other messages: $*"
    [ "$ours" -eq 0 ] || [ ! -s ours.out ] || complain "stdout is not empty: $*"
    [ "$ours" -eq 0 ] || return 0
    case $1 in
        info | map | snapshot) (cd ours && as_qemu_img "$1") <ours.out >ours.as ;;
        *) cp ours.out ours.as ;;
    esac
    diff -u --label qemu-img --label qcbm theirs.out ours.as >&2 || complain "other output: $*"
}
