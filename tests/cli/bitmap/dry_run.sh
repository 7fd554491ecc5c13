# dry_run.sh - shows the plan and leaves the file as it is
# SPDX-License-Identifier: MIT
fixture one-bitmaps
chmod a-w image.qcow2
unchanged image.qcow2 qcbm bitmap --dry-run --remove --add image.qcow2 b0
unchanged image.qcow2 qcbm bitmap --dry-run -q --remove image.qcow2 b0
