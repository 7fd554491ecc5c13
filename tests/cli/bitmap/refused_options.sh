# refused_options.sh - formats without bitmaps are refused; --object needs nobody
# SPDX-License-Identifier: MIT
fixture one-bitmaps
truncate -s 1M raw
fails unchanged image.qcow2 qcbm bitmap --add -f raw image.qcow2 new
fails unchanged image.qcow2 qcbm bitmap --merge b0 -b image.qcow2 -F raw image.qcow2 frozen
fails unchanged raw qcbm bitmap --add raw new
qcbm bitmap --object secret,id=s,data=x --add image.qcow2 new
