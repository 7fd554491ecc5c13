#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `qcbm checkpoint` beside a real libvirt: does verify say what libvirt says, of 200 random chains?
#
# Run by hand, as libvirt.sh is, which says what it needs:
#   QCBM=path/to/qcbm tests/recipes/checkpoint-libvirt.sh [CHAINS [SEED]]
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/recipes/libvirtd.sh
. "$here/libvirtd.sh"

step "Verdicts of verify and of libvirt on random chains"
run env QCBM="$QCBM" python3 "$here/checkpoint_verdicts.py" "${1:-200}" "${2:-1}"
