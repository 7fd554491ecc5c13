# help.sh - all options are shown, also after other arguments
# SPDX-License-Identifier: MIT
qcbm bitmap image.qcow2 --add name --help
