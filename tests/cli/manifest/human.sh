# human.sh - what is printed for people
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm manifest -o m -g 512 --text='before the update' --image-id=00112233-4455-6677-8899-aabbccddeeff image.qcow2
qcbm manifest --info m
qcbm manifest --verify m image.qcow2
qcbm manifest -q --verify m image.qcow2
qemu-img convert -O raw image.qcow2 disk.raw
printf x | dd of=disk.raw bs=1 seek=5000 conv=notrunc status=none
truncate -s +1k disk.raw
code=0
qcbm manifest --verify m -f raw disk.raw || code=$?
echo "exit code $code"
ls -- m*
