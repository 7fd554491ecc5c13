#!/bin/sh
# job.sh IMAGE - the nightly job of one image: a checkpoint is made, or found to be there and to be good; one line is left of it
#
# SPDX-License-Identifier: MIT
#
# From the environment: FLEET_CHECKPOINT, the name of the bitmap (nightly); FLEET_RECORDS, the folder that gets the lines
# (the current one), in a file for each machine, since not every network file system can append from several at once;
# FLEET_OPTIONS, more options of qcbm synth, as --max-read=50M.
#
# Exit code: 0 there is a good checkpoint, 75 a guest or another program has the image, 1 there is none; 126 there is no folder for
# the records that can be written to, 127 there is no qcbm: nothing was done, and no line is left.
records=${FLEET_RECORDS:-.}
if ! [ -d "$records" ] || ! [ -w "$records" ]; then
    echo "job.sh: '$records' is no folder that records can be written to: nothing is done" >&2
    exit 126
fi
# shellcheck disable=SC2086 # several options
exec qcbm synth --if-missing --quiet --tempfail --nice --record="$records/$(uname -n).jsonl" ${FLEET_OPTIONS:-} \
    -- "$1" "${FLEET_CHECKPOINT:-nightly}"
