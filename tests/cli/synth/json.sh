# json.sh - the members that are promised, with and without --dry-run
# SPDX-License-Identifier: MIT
fixture ten-overlay
keys='{"image", "overlay", "bitmap", "granularity", "virtual-size", "granules", "dirty-granules", "dirty-bytes",
    "changed", "enabled", "dry-run", "claim", "damaged-entries", "layers", "plan", "notes",
    "elapsed-seconds"}'
figures='v["image"] == v["overlay"] == "overlay.qcow2" and v["granularity"] == 65536 and v["virtual-size"] == 10485760
    and v["granules"] == 160 and v["dirty-granules"] == 17 and v["dirty-bytes"] == 1114112
    and v["claim"] == "differs from the current backing file" and v["damaged-entries"] == 0
    and set(v["plan"]) == {"bytes-written", "clusters-allocated", "clusters-freed", "file-growth", "writes", "flushes"}
    and [set(l) for l in v["layers"]] == [{"filename", "format", "virtual-size", "cluster-size", "allocated-bytes"}]
    and v["layers"][0]["allocated-bytes"] == 1114112 and v["elapsed-seconds"] >= 0'
json "set(v) == $keys | {'steps'} and v['dry-run'] and v['enabled'] and $figures
    and len(v['steps']) == v['plan']['writes'] and {'stage', 'what', 'offset', 'length'} <= set(v['steps'][0])" \
    unchanged overlay.qcow2 qcbm synth --dry-run --output=json overlay.qcow2 b0
json "set(v) == $keys and not v['dry-run'] and not v['enabled'] and $figures" \
    qcbm synth --disabled -q --output=json overlay.qcow2 b0
json 'v["claim"] == "differs from base.qcow2" and v["bitmap"] == "since"' \
    qcbm synth --since base.qcow2 --output=json overlay.qcow2 since
