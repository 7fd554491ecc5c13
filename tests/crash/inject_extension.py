#!/usr/bin/env python3
# Puts a foreign header extension behind the others: inject_extension.py IMAGE LENGTH [front]
# SPDX-License-Identifier: MIT
import struct
import sys

path, length = sys.argv[1], int(sys.argv[2])
with open(path, "r+b") as f:
    head = bytearray(f.read(65536))
    backing, size, bits = struct.unpack(">QII", head[8:24])
    header_length = struct.unpack(">I", head[100:104])[0]
    at = header_length
    while struct.unpack(">I", head[at:at + 4])[0]:
        at += 8 + (struct.unpack(">I", head[at + 4:at + 8])[0] + 7) // 8 * 8
    if len(sys.argv) > 3:
        at = header_length
    name = bytes(head[backing:backing + size]) if backing else b""
    rest = bytes(head[at:backing or 4096])
    new = struct.pack(">II", 0x1234ABCD, length) + bytes(i % 251 for i in range(length)) + bytes(-length % 8)
    tail = new + rest
    if backing:
        head[8:16] = struct.pack(">Q", at + len(tail))
        tail += name
    if at + len(tail) > 1 << bits and (at + len(tail.rstrip(b"\0"))) > 1 << bits:
        sys.exit("no room in the first cluster")
    head[at:at + len(tail)] = tail
    f.seek(0)
    f.write(head[:min(1 << bits, 65536)])
