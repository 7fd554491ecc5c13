# usage_errors.sh - wrong use
# SPDX-License-Identifier: MIT
fixture one-bitmaps
wrong() {
    local code=0
    qcbm manifest "$@" >out 2>err || code=$?
    [ "$code" -eq 1 ] || complain "exit code $code: $*"
    [ ! -s out ] || complain "stdout is not empty: $*"
    head -1 err
}
wrong
wrong a b
wrong --info m image.qcow2
wrong --update m image.qcow2
wrong --bitmap b0 image.qcow2
wrong --update m --bitmap b0 --verify m image.qcow2
wrong -o x --verify m image.qcow2
wrong -o x --update m --bitmap b0 image.qcow2
wrong -g 4k --verify m image.qcow2
wrong --digest=md5 -o x image.qcow2
wrong --image-id=12 -o x image.qcow2
wrong -g 3000 -o x image.qcow2
wrong --output=json image.qcow2
wrong --update missing --bitmap b0 image.qcow2
ls
