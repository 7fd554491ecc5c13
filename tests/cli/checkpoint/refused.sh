# refused.sh - wrong use, and what is in the way, leave all as it was
# SPDX-License-Identifier: MIT
fixture one-bitmaps
cp image.qcow2 other.qcow2
if qcbm checkpoint; then complain "accepted without a command"; fi
if qcbm checkpoint creat; then complain "accepted an unknown command"; fi
if qcbm checkpoint create C1; then complain "accepted without a disk"; fi
if qcbm checkpoint create C1 --disk vda; then complain "accepted without an image"; fi
if qcbm checkpoint create C1 --disk vda=image.qcow2 --overlay vdb=new; then complain "accepted an overlay of no disk"; fi
fails unchanged image.qcow2 qcbm checkpoint create 'C 1' --disk vda=image.qcow2
fails unchanged image.qcow2 qcbm checkpoint create C1 --disk vda=image.qcow2 --disk vdb=./image.qcow2
fails unchanged image.qcow2 qcbm checkpoint create C1 --disk vda=image.qcow2 --disk vdb=missing
fails unchanged image.qcow2 qcbm checkpoint create C1 --disk vda=image.qcow2 --freeze
if qcbm checkpoint create C1 --disk vda=image.qcow2 --xml -; then complain "XML between other output"; fi
echo x >new
fails unchanged image.qcow2 qcbm checkpoint create C1 --disk vda=image.qcow2 --overlay vda=new
fails qcbm checkpoint recover missing
fails unchanged image.qcow2 qcbm checkpoint recover image.qcow2
ls
