#!/bin/sh
# parallel.sh LIST [OPTION]... - the nightly job with GNU parallel, on this machine: the one line, with a log of all jobs
#
# SPDX-License-Identifier: MIT
#
# Started again it goes on where a killed night has ended, and repeats what has failed: what the log has as done is not run again,
# and the exit code, the number of images that failed, is that of the whole night. A new night has a new log: remove it, or set
# FLEET_JOBLOG. OPTION: of parallel, as --jobs 16, --sshlogin for several machines.
list=${1:?usage: parallel.sh LIST [OPTION]...}
shift
exec parallel --joblog "${FLEET_JOBLOG:-fleet.joblog}" --resume-failed "$@" "${FLEET_HOME:-$(dirname "$0")}/job.sh" {} :::: "$list"
