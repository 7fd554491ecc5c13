# names.sh - what an image may be named by, beside qemu-img: output, messages and exit codes
# SPDX-License-Identifier: MIT
prepare() {
    mkdir dir
    qemu-img create -q -f qcow2 dir/a.qcow2 1M
    qemu-img create -q -f qcow2 -u -b base -F raw dir/o.qcow2 1M
    truncate -s 1000 odd
    : >a,b
}
# qemu-img repeats the whole name before the name of the file
WORDS="s/Could not open '[^']*': Could not open/Could not open/"
for name in file:dir/a.qcow2 file:./odd 'json:{"driver":"raw","file":{"driver":"file","filename":"odd"}}' \
    'json:{"driver":"qcow2","file.filename":"dir/o.qcow2"}' 'json:{"file":{"filename":"dir/a.qcow2"}}' \
    'json:{"driver":"qcow2","read-only":true,"l2-cache-size":65536,"file":{"filename":"dir/a.qcow2","aio":"threads"}}' \
    'json:{"driver":"raw","file.filename":"dir/a.qcow2"}' 'json:{"driver":"qcow2","file.filename":"nope"}' \
    'json:{"driver":"raw","file.filename":"file:odd"}' 'json:{"filename":"odd"}' 'json:{}' 'json:[]' \
    'json:{"driver":"raw","file":{"driver":"file"}}' 'json:{"driver":"qcow2"}' 'json:{"driver":"nosuch","file.filename":"odd"}' \
    nosuch:odd file: file:nope odd ./odd; do
    same_as_qemu_img info "$name"
    [[ $name == *o.qcow2* ]] && continue # its backing file is missing
    same_as_qemu_img map "$name"
    same_as_qemu_img measure "$name"
done
for options in driver=qcow2,file.filename=dir/a.qcow2 driver=qcow2,file.driver=file,file.filename=dir/o.qcow2 \
    file.filename=odd driver=raw,file.filename=dir/a.qcow2 driver=raw,file.filename=a,,b driver=raw,driver=qcow2,file.filename=dir/a.qcow2 \
    driver=qcow2,file.filename=dir/a.qcow2,cache.direct=off,file.locking=on driver=qcow2 '' \
    driver=nosuch,file.filename=odd; do
    same_as_qemu_img info --image-opts "$options"
done
same_as_qemu_img info --object secret,id=s,data=x dir/a.qcow2
same_as_qemu_img info -f raw 'json:{"driver":"qcow2","file.filename":"dir/a.qcow2"}'
# a key that comes twice, at any depth; not so a colon or a quote within a string
same_as_qemu_img info 'json:{"driver":"qcow2","driver":"qcow2","file.filename":"dir/a.qcow2"}'
same_as_qemu_img info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"dir/a.qcow2","filename":"odd"}}'
same_as_qemu_img info 'json:{"file":{"driver":"file","filename":"odd"},"driver":"qcow2","file":"dir/a.qcow2"}'
same_as_qemu_img info 'json:{"driver":"qcow2","file.filename":"dir/a:\"b"}'
same_as_qemu_img measure --image-opts
same_as_qemu_img check -f raw dir/a.qcow2
same_as_qemu_img check odd
same_as_qemu_img check file:dir/a.qcow2
same_as_qemu_img check --output=json file:dir/a.qcow2
prepare
for name in 'json:{bad' 'json:{"driver":"qcow2","file":{"driver":"nbd","host":"h"}}' 'json:{"driver":"qcow2","file":"node"}' \
    'json:{"driver":"qcow2","file.filename":"dir/a.qcow2","backing":null}' 'json:{"driver":"file","filename":"odd"}' \
    'json:{"driver":"raw","size":512,"file.filename":"odd"}' 'json:{"driver":"raw","file":{"filename":"odd","locking":"off"}}' \
    'json:{"driver":"luks","file.filename":"odd"}' 'json:{"force-share":true,"file.filename":"odd"}'; do
    fails qcbm info "$name"
done
fails qcbm info --image-opts node
qcbm info --image-opts driver=qcow2,file.filename=dir/a.qcow2,encrypt.key-secret=s --object secret,id=s,data=x | grep '^image'
fails qcbm info --usage odd
