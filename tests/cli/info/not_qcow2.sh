# not_qcow2.sh - what is neither qcow2 nor raw is refused, in words that say why; inside the sandbox and outside
# SPDX-License-Identifier: MIT
mkfifo pipe
: >empty
qemu-img create -q -f vmdk disk.vmdk 1M
mkdir folder
for option in -U --no-sandbox; do
    for file in pipe folder missing disk.vmdk '' file:missing file: ssh://host/x http://host/x nosuch:x; do
        fails qcbm info "$option" "$file"
    done
    fails qcbm info "$option" -f qcow2 empty
    fails qcbm info "$option" -f vmdk empty
    fails qcbm info "$option" -f nosuch empty
done
: >a:b
fails qcbm info a:b
qcbm info ./a:b | grep '^file format'
qcbm info file:a:b | grep '^image'
