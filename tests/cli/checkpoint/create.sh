# create.sh - what is told of a checkpoint over two disks, with an overlay, its XML, and in a dry run
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 other.qcow2
unchanged image.qcow2 qcbm checkpoint create C1 --disk vda=image.qcow2 --disk vdb=other.qcow2 --dry-run
qcbm checkpoint create C1 --disk vda=image.qcow2 --disk vdb=other.qcow2 --overlay vdb=new.qcow2 --xml=C1.xml --parent=C0
grep -c '<name>C[01]</name>' C1.xml
qcbm checkpoint create C2 -q --disk vda=image.qcow2
qcbm checkpoint create C3 --output=json --disk vda=image.qcow2 --undo undo
ls undo
qcbm checkpoint mend C3 -q --output=json --disk vda=image.qcow2
