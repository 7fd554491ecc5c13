# help.sh - all options are shown
# SPDX-License-Identifier: MIT
qcbm picture --help
