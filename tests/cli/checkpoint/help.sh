# help.sh - the commands of it, and the options of each
# SPDX-License-Identifier: MIT
qcbm checkpoint --help
qcbm checkpoint create --help
qcbm help checkpoint create
if qcbm help checkpoint creat 2>help.err; then complain "knows an unknown command"; fi
grep -c "does not know .creat" help.err
