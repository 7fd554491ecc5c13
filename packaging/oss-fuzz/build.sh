#!/bin/bash -eu
# build.sh - what OSS-Fuzz calls; the work is done by a script of the tree, which can be tried without OSS-Fuzz
#
# SPDX-License-Identifier: MIT
exec fuzz/oss_fuzz_build.sh
