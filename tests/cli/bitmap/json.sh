# json.sh - the result, and with --dry-run each step
# SPDX-License-Identifier: MIT
fixture one-bitmaps
json 'v["image"] == "image.qcow2" and v["bitmap"] == "b0" and v["operations"] == ["remove", "add"]
    and v["dry-run"] is True and len(v["steps"]) == v["plan"]["writes"] and v["plan"]["flushes"] > 0
    and sum(s["length"] for s in v["steps"]) == v["plan"]["bytes-written"]
    and {"stage", "what", "offset", "length"} <= set(v["steps"][0])' \
    unchanged image.qcow2 qcbm bitmap --dry-run --remove --add --output=json image.qcow2 b0
json 'v["dry-run"] is False and "steps" not in v and v["operations"] == ["disable"]
    and v["plan"]["clusters-allocated"] >= 0 and v["plan"]["file-growth"] >= 0' \
    qcbm bitmap --disable --output json image.qcow2 b0
