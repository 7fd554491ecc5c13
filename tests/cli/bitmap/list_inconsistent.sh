# list_inconsistent.sh - is shown with its finding, exit code 0; how much is dirty nobody knows
# SPDX-License-Identifier: MIT
fixture one-in-use
qcbm bitmap --list image.qcow2
json '[b["flags"] for b in v["bitmaps"]] == [["in-use", "auto"], ["in-use"]]
    and not any(b["consistent"] for b in v["bitmaps"])
    and all(b[k] is None for b in v["bitmaps"] for k in ("dirty-granules", "dirty-bytes", "dirty-share"))
    and all(b["granules"] and b["disk-bytes"] for b in v["bitmaps"])
    and all(b["findings"][0]["severity"] == "warning" for b in v["bitmaps"])' \
    qcbm bitmap --list --output=json image.qcow2
