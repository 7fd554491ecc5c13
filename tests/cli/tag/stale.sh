# stale.sh - stale bitmaps stay, and nothing says that they go
# SPDX-License-Identifier: MIT
fixture one-bitmaps
poke image.qcow2 88 0000000000000000
qcbm bitmap --list image.qcow2 >before 2>/dev/null
[ -z "$(qcbm tag --dry-run image.qcow2 2>&1 >/dev/null)" ] || complain "a dry run tells of something"
[ -z "$(qcbm tag image.qcow2 2>&1 >/dev/null)" ] || complain "it tells of something"
! qcbm tag --new --output=json image.qcow2 | grep stale || complain "JSON tells of them"
qcbm bitmap --list image.qcow2 >after 2>/dev/null
grep -q stale before && cmp before after
