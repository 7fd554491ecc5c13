# verbs_json.sh - the same for programs, with figures
# SPDX-License-Identifier: MIT
fixture one-bitmaps
json 'v["operations"] == ["merge", "set", "rename", "rotate"] and v["bitmap"] == "b0" and v["results"] == [
    {"operation": "set", "value": "0:64k", "bitmap": "b0", "granularity": 65536, "enabled": True, "granules": 16,
     "dirty-granules": 2, "dirty-bytes": 131072},
    {"operation": "rename", "value": "old", "bitmap": "b0"},
    {"operation": "rotate", "value": "new", "bitmap": "old", "granularity": 65536, "enabled": False, "granules": 16,
     "dirty-granules": 2, "dirty-bytes": 131072}] and v["plan"]["writes"] > 0 and v["dry-run"] is False' \
    qcbm bitmap --merge frozen --set 0:64k --rename old --rotate new --output=json image.qcow2 b0
json 'v["dry-run"] is True and v["results"][0]["dirty-bytes"] == 0 and len(v["steps"]) == v["plan"]["writes"]' \
    unchanged image.qcow2 qcbm bitmap --subtract old --dry-run --output=json image.qcow2 old
json 'v["results"] == []' qcbm bitmap --enable --output=json image.qcow2 old
