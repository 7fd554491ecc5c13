# version.sh - name and version, which is the header's
# SPDX-License-Identifier: MIT
qcbm --version
