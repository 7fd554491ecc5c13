# help.sh - the help names all exit codes
# SPDX-License-Identifier: MIT
qcbm check --help
