# import_map.sh - what qemu-img map prints as JSON: dirty is what is present at depth 0, be it zeros, and no less than synth finds
# SPDX-License-Identifier: MIT
fixture ten-overlay
qemu-img map --output=json overlay.qcow2 >printed
qcbm bitmap --import printed --format=json -g 64k overlay.qcow2 fromqemu
qcbm map --output=json overlay.qcow2 | qcbm bitmap --import - --format=json -g 64k --quiet overlay.qcow2 fromqcbm
qcbm synth -g 64k --quiet overlay.qcow2 made
qcbm extents overlay.qcow2 made >want
for name in fromqemu fromqcbm; do qcbm extents overlay.qcow2 $name | cmp - want; done
qemu-img check -q overlay.qcow2
try() {
    printf '%s' "$1" >list
    fails unchanged overlay.qcow2 qcbm bitmap --import list --format=json overlay.qcow2 new
}
dirty() {
    printf '%s' "$1" | qcbm bitmap --import - --format=json -g 1M --dry-run --output=json overlay.qcow2 new |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["results"][0]["dirty-bytes"])'
}
end='"start":1048576,"length":9437184,"depth":1'
dirty '[{"start":0,"length":1048576,"depth":0,"present":true,"zero":true,"data":false,"offset":9223372036854775809},{'"$end"'}]'
dirty '[{"start":0,"length":1048576,"depth":0,"present":false,"zero":true,"data":false},{'"$end"'}]'
# as QEMU before 6.1 has it
dirty '[{"start":0,"length":1048576,"depth":0,"zero":true,"data":false},{'"$end"'}]'
try '[{"start":0,"length":10485760,"present":true}]'
try '[{"start":0,"length":10485760,"depth":0,"present":1}]'
try '[{"start":0,"length":1048576,"depth":0},{"offset":1048576,"length":9437184,"type":0}]'
try '[{"start":0,"length":1048576,"depth":0}]'
qemu-img map --output=json --start-offset=1M overlay.qcow2 >list
fails unchanged overlay.qcow2 qcbm bitmap --import list --format=json overlay.qcow2 new
