# help.sh - the commands are listed
# SPDX-License-Identifier: MIT
qcbm --help
