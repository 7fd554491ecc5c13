# import_forms.sh - the forms of other programs: what is not whole, not in order, or not of this disk is refused with the place
# SPDX-License-Identifier: MIT
fixture one-bitmaps
try() { # FORM TEXT
    printf %b "$2" >list
    fails unchanged image.qcow2 qcbm bitmap --import list "--format=$1" image.qcow2 new
}
disk='"volume_capacity_bytes":1048576'
tuple='{"byte_offset":512,"size_bytes":512}'
try csi "{}"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[$tuple,$tuple]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[$tuple]},{\"block_metadata_type\":2,$disk,\"block_metadata\":[$tuple]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"byte_offset\":1048576,\"size_bytes\":1}]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"byte_offset\":18446744073709551614,\"size_bytes\":3}]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"byte_offset\":512,\"size_bytes\":0}]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"byte_offset\":512}]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"byte_offset\":512,\"byteOffset\":\"512\",\"size_bytes\":1}]}]"
try csi "[{\"block_metadata_type\":2,$disk,\"block_metadata\":[{\"offset\":512,\"size_bytes\":1}]}]"
try csi "[{\"block_metadata_type\":3,$disk}]"
try csi "[{$disk}]"
try csi '[{"block_metadata_type":2}]'
try csi '[{"block_metadata_type":2,"volume_capacity_bytes":1049088}]'
try csi "[{\"block_metadata_type\":2,$disk},{\"block_metadata_type\":1,$disk}]"
try csi "[{\"block_metadata_type\":2,\"blockMetadataType\":2,$disk}]"
try csi-lines ''
try csi-lines "{\"block_metadata_type\":2,$disk}"
try csi-lines "{\"block_metadata_type\":2,$disk} {\"block_metadata_type\":2,$disk}\n"
try rbd '[{"offset":0,"length":512,"exists":true}]'
try rbd '[{"offset":0,"length":512,"exists":"yes"}]'
try rbd '[{"offset":0,"length":512}]'
try rbd '[{"offset":0,"length":512,"exists":"true","dirty":true}]'
try rbd '[{"offset":512,"length":512,"exists":"true"},{"offset":0,"length":512,"exists":"true"}]'
try rbd '[{"offset":0,"length":1048577,"exists":"true"}]'
try ovirt '[{"start":0,"length":1048576,"zero":true}]'
try ovirt '[{"start":0,"length":1048576,"dirty":1,"zero":true}]'
try ovirt '[{"start":0,"length":512,"dirty":true},{"start":1024,"length":1047552,"dirty":true}]'
try ovirt '[{"start":0,"length":512,"dirty":true},{"start":512,"length":1048064,"zero":true,"hole":true}]'
try ovirt '[{"start":0,"length":1048576,"dirty":true,"x":1}]'
try jsonl '{"offset":0,"length":1048576,"type":1}'
try jsonl '{"offset":0,"length":512,"type":1}{"offset":512,"length":1048064,"type":1}\n'
try jsonl '{"offset":0,"length":512,"type":1}\n'
try human '         0     1048576    1  dirty'
try human '         0     1048576    1  clean\n'
try human '         0     1048576    4  hole\n'
try human '         0     1048576    x\n'
try human '         0     1048064    1  dirty\n'
try xen-json '{"cluster_bits":16,"data_clusters":[]}'
try xen-json '{"virtual_size":1048576,"data_clusters":[0],"cluster_bits":16}'
try xen-json '{"virtual_size":1048576,"cluster_bits":8,"data_clusters":[0]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":64,"data_clusters":[0]}'
try xen-json '{"virtual_size":1048577512,"cluster_bits":16,"data_clusters":[0]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[16]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[18446744073709551615]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[[1,0]]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[[0,1],[1,2]]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[[0,1,2]]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[-1]}'
try xen-json '{"virtual_size":1048576,"cluster_bits":16,"data_clusters":[],"more":1}'
try xen-bits ''
try xen-bits 'abc'
thin() {
    try thin-delta "<superblock data_block_size=\"$1\"><diff>${2-}</diff></superblock>${3-}"
}
thin 0
thin 4194304
thin 18446744073709551616
thin 128 '<same begin="0" length="2"/><different begin="1" length="1"/>'
thin 128 '<different begin="0" length="0"/>'
thin 128 '<different begin="18446744073709551614" length="2"/>'
thin 128 '<different begin="0" begin="1" length="1"/>'
thin 128 '<different begin="0"/>'
thin 128 '<different begin="-1" length="1"/>'
thin 128 '<changed begin="0" length="1"/>'
thin 128 '<different begin="0" length="1"></different>'
thin 128 '<!-- x -->'
thin 128 '' '<superblock/>'
try thin-delta '<diff left="1" right="2"/>'
try thin-delta '<superblock data_block_size="128"><diff>'
# what says nothing of bits, or is only read
for options in "--import=list --format=json --base64" "--import=list --format=xml" "--export=list --base64 --format=raw"; do
    # shellcheck disable=SC2086
    qcbm bitmap $options image.qcow2 new && complain "accepted: $options"
done
fails qcbm bitmap --export list --force --format=thin-delta image.qcow2 b0
