# help.sh - all options are shown
# SPDX-License-Identifier: MIT
qcbm tag --help
