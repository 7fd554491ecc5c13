# list_json.sh - all that is known of each bitmap
# SPDX-License-Identifier: MIT
fixture one-bitmaps
json 'v["image"] == "image.qcow2" and v["virtual-size"] == 1048576 and v["stale"] is False and v["findings"] == []
    and v["bitmaps"][0] == {"name": "b0", "granularity": 65536, "flags": ["auto"], "consistent": True, "stale": False, "enabled": True,
        "granules": 16, "dirty-granules": 1, "dirty-bytes": 65536, "dirty-share": 0.0625,
        "disk-bytes": v["bitmaps"][0]["disk-bytes"], "extra-data-size": 0, "findings": []}
    and v["bitmaps"][1]["flags"] == [] and not v["bitmaps"][1]["enabled"] and v["bitmaps"][1]["granularity"] == 4096' \
    qcbm bitmap --list --output=json image.qcow2
