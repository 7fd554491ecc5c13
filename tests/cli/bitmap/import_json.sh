# import_json.sh - a list of extents that is not whole, not in order, or not of this disk is refused with the place;
# members that are not known are skipped
# SPDX-License-Identifier: MIT
fixture one-bitmaps
try() {
    printf '%s' "$1" >list
    fails unchanged image.qcow2 qcbm bitmap --import list --format=json image.qcow2 new
}
accept() {
    printf '%s' "$1" | qcbm bitmap --import - --format=json --dry-run --quiet image.qcow2 new
}
accept '[{"offset":0,"length":1048576,"type":1}]' >/dev/null
accept ' [ {"type" : 0, "offset": 0, "length":512,"description":"clean"} ,
{"offset":512,"length":1048064,"type":3,"description":"dirty,zero"}]
' >/dev/null
accept '[{"offset":0,"length":1048576,"type":1,"description":"di\u0072ty","more":[1e9,{"type":0}],"x":-9223372036854775809}]' \
    >/dev/null
try ''
try '{}'
try '[]'
try '[{"offset":0,"length":1048576,"type":1}'
try '[{"offset":0,"length":1048576,"type":1}] x'
try '[{"offset":0,"length":1048576,"type":1},]'
try '[{"offset":0,"length":1048576}]'
try '[{"offset":0,"length":1048576,"type":1,"type":1}]'
try '[{"offset":0,"length":1048576,"type":4}]'
try '[{"offset":0,"length":1048576,"type":1,"description":"hole"}]'
try '[{"offset":0,"length":1048576,"type":1,"description":"a string without an end'
try "[{'offset':0,\"length\":1048576,\"type\":1}]"
try '[{"offset":0,"length":1048576,"type":1,"more":{"a":1,}}]'
try '[{}]'
try '[null]'
try '[{"offset":0,"length":1048576,"type":true}]'
try '[{"offset":0,"length":1048576,"type":1,"description":null}]'
try '[{"offset":0,"length":-1,"type":1}]'
try '[{"offset":0,"length":1048576.5,"type":1}]'
try '[{"offset":0,"length":01,"type":1}]'
try '[{"offset":0,"length":18446744073709551616,"type":1}]'
try '[{"offset":0,"length":18446744073709551615,"type":1}]'
try '[{"offset":0,"length":9223372036854775809,"type":1}]'
try '[{"offset":0,"length":1048576e0,"type":1}]'
try '[{"offset":0,"length":0,"type":1}]'
try '[{"offset":512,"length":1048064,"type":1}]'
try '[{"offset":0,"length":512,"type":1},{"offset":0,"length":512,"type":1}]'
try '[{"offset":0,"length":512,"type":1}]'
try '[{"offset":0,"length":1049088,"type":1}]'
# thousands of brackets cost no stack
head -c 1000000 /dev/zero | tr '\0' '[' >list
fails unchanged image.qcow2 qcbm bitmap --import list --format=json image.qcow2 new
# values that lie too deep in each other; an object may be of any length
nested() {
    python3 -c 'import sys
depth, size = map(int, sys.argv[1:])
print("[{\"more\":%s\"%s\"%s,\"offset\":0,\"length\":1048576,\"type\":1}]" % ("[" * depth, "x" * size, "]" * depth))' "$@"
}
nested 28 70000 >list
qcbm bitmap --import list --format=json --dry-run --quiet image.qcow2 new
nested 40 0 >list
fails unchanged image.qcow2 qcbm bitmap --import list --format=json image.qcow2 new
# what is no text
printf '[{"offset":0,"length":1048576,"type":1,"more":"\xc3"}]' >list
fails unchanged image.qcow2 qcbm bitmap --import list --format=json image.qcow2 new
try '[{"offset":0,"length":1048576,"type":1,"more":"\x"}]'
try '[{"offset":0,"length":1048576,"type":1,"more":"\u12g4"}]'
try '[{"offset":0,"length":1048576,"type":1,"description":"dirty\u0000"}]'
try '[{"offset":0,"length":1048576,"type":1,"more":truth}]'
