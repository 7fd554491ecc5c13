# output_keeps_disks.sh - --force replaces no file of the disks that are read, nothing that is in use, and not the record
# SPDX-License-Identifier: MIT
qemu-img create -q -f raw disk.xml 1M
qemu-io -f raw -c 'write -q -P 5 0 64k' disk.xml
qemu-img create -q -f raw other.raw 1M
qemu-img create -q -f qcow2 -b disk.xml -F raw mid.qcow2
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -o data_file=data.raw with_data.qcow2 1M
qcbm synth -q top.qcow2 b
qcbm synth -q --force with_data.qcow2 b
ln disk.xml hard.raw
ln -s disk.xml link.raw
ln data.raw data.link

refused() { # FILE COMMAND...
    unchanged "$1" fails "${@:2}"
}

for out in disk.xml hard.raw link.raw ./disk.xml; do
    refused disk.xml qcbm picture --force --as=png -o "$out" -f raw disk.xml
    refused disk.xml qcbm picture --force --as=png -o "$out" top.qcow2
    refused disk.xml qcbm picture --force --as=png -o "$out" --host top.qcow2
    refused disk.xml qcbm picture --force --as=svg -o "$out" -b b top.qcow2
    refused disk.xml qcbm picture --force --as=png -o "$out" -f raw --against=disk.xml other.raw
    refused disk.xml qcbm manifest --force -o "$out" top.qcow2
    refused disk.xml qcbm bitmap --force --export "$out" top.qcow2 b
    refused disk.xml qcbm bitmap --force --dry-run --export "$out" top.qcow2 b
done
refused disk.xml qcbm checkpoint xml --force -o . --disk vda=top.qcow2 disk
refused data.raw qcbm picture --force --as=png -o data.link with_data.qcow2
refused data.raw qcbm bitmap --force --export data.link with_data.qcow2 b

# What is not of the disk is replaced, if nobody has it.
echo old >plain
qcbm picture -q --force --as=png -o plain top.qcow2
qcbm manifest -q --force -o plain top.qcow2
qcbm bitmap -q --force --export plain top.qcow2 b
qemu-nbd --fork --persistent --format=raw --socket="$PWD/writer.sock" --pid-file="$PWD/writer.pid" plain
trap 'kill "$(cat writer.pid)"' EXIT
refused plain qcbm picture --force --as=png -o plain top.qcow2
refused plain qcbm manifest --force -o plain top.qcow2
refused plain qcbm bitmap --force --export plain top.qcow2 b

# A record would be lost with the file that is replaced.
echo '{"schema":"qcbm.info/1"}' >log
fails qcbm manifest --force --record=log -o log top.qcow2
[ "$(wc -l <log)" -eq 2 ] || complain "the record is lost"
fails qcbm bitmap --record=new --export new top.qcow2 b
[ "$(wc -l <new)" -eq 1 ] || complain "the record is lost"
