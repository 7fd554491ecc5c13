# help.sh - the commands of it, and the options of each
# SPDX-License-Identifier: MIT
qcbm checkpoint --help
qcbm checkpoint create --help
