# options.sh - several -o are taken together, and what comes later wins, as with qemu-img
# SPDX-License-Identifier: MIT
prepare() { :; }
sizes() {
    same_as_qemu_img measure -O qcow2 --size 1G "$@"
    cmp ours.out theirs.out || complain "other sizes: $*"
}
sizes -o cluster_size=4k -o refcount_bits=1
sizes -o cluster_size=4k -o cluster_size=2M
sizes -o extended_l2=on -o lazy_refcounts=on
sizes -o preallocation=full,preallocation=off
sizes -o preallocation=off -o preallocation=falloc
sizes -o compression_type=zstd,cluster_size=4k
