# shared_tables.sh - thousands of L1 entries with one table make no endless map
# SPDX-License-Identifier: MIT
qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 100M
qemu-io -c 'write -q 0 512' image.qcow2
python3 - image.qcow2 <<'END'
import struct, sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(40)
    at, = struct.unpack('>Q', f.read(8))
    f.seek(at)
    first = f.read(8)
    f.seek(at)
    f.write(first * 3200)
END
fails qcbm map image.qcow2
