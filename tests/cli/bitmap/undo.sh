# undo.sh - --undo makes a new file for the owner alone, or changes nothing
# SPDX-License-Identifier: MIT
fixture one-bitmaps
qcbm bitmap --disable --undo one image.qcow2 b0
[ "$(stat -c %a one)" = 600 ]
qcbm bitmap --disable --undo nothing_to_do image.qcow2 b0
[ -s nothing_to_do ]
unchanged image.qcow2 qcbm undo image.qcow2 nothing_to_do
fails unchanged image.qcow2 qcbm bitmap --enable --undo one image.qcow2 b0
fails unchanged image.qcow2 qcbm bitmap --dry-run --enable --undo one image.qcow2 b0
fails unchanged image.qcow2 qcbm bitmap --enable --undo no/such/folder image.qcow2 b0
fails unchanged image.qcow2 qcbm bitmap --add --undo two image.qcow2 b0
qcbm bitmap --dry-run --add --undo two image.qcow2 new >dry_run
fails qcbm synth --undo two image.qcow2 b0
[ ! -e two ]
qcbm undo -q image.qcow2 one
