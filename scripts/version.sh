#!/bin/sh
# Prints the version, which lives in the public header only.
set -eu
awk '/^#define QCBM_VERSION_(MAJOR|MINOR|PATCH) / { v = v sep $3; sep = "." } END { print v }' \
    "$(dirname "$0")/../libqcbm/include/qcbm.h"
