# below.sh - a bitmap that goes on in an overlay is told of, and is not all that changed
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 base.qcow2 1M
qcbm bitmap -q --add base.qcow2 b0
qcbm bitmap -q --add base.qcow2 alone
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qcbm bitmap -q --add top.qcow2 b0
qcbm bitmap -q --add top.qcow2 b1
qemu-img create -q -f qcow2 other.qcow2 1M
qcbm bitmap -q --add other.qcow2 b0
qcbm picture -b b0 top.qcow2 >out
qcbm picture -b b1 top.qcow2 >out
qcbm picture --chain -b b0 top.qcow2 >out
qcbm picture -b b0 -b alone base.qcow2 >out
qcbm picture -q -b b0 -b b1 -o x.svg top.qcow2
qcbm picture -b b0 --against=top.qcow2 other.qcow2 >out
