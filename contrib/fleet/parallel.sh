#!/bin/sh
# parallel.sh LIST [OPTION]... - the nightly job with GNU parallel, on this machine: the one line, with a log of all jobs
#
# SPDX-License-Identifier: MIT
#
# --resume goes on where a killed night has ended: what the log has is not run again. A new night has a new log: remove it, or
# set FLEET_JOBLOG. OPTION: of parallel, as --jobs 16, --resume-failed in place of nothing, --sshlogin for several machines.
list=${1:?usage: parallel.sh LIST [OPTION]...}
shift
exec parallel --joblog "${FLEET_JOBLOG:-fleet.joblog}" --resume "$@" "${FLEET_HOME:-$(dirname "$0")}/job.sh" {} :::: "$list"
