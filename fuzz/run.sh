#!/usr/bin/env bash
# run.sh - a campaign with libFuzzer: run.sh [-j JOBS] [-s SECONDS] [-c FOLDER] BUILD [TARGET...]
# SPDX-License-Identifier: MIT
#
# BUILD is a build folder with -Dfuzz=true in which `meson compile fuzz` has run. Each target (all by default) gets
# SECONDS of CPU time (60), JOBS of them run at a time (1). FOLDER (BUILD/campaign) keeps corpora, logs and findings, so
# that the next run goes on where this one ended. Exit code: 0 nothing found, 1 findings.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    sed -n 's/^# run.sh - .*: \(run.sh.*\)/usage: \1/p' "$0" >&2
    exit 2
}

jobs=1 seconds=60 folder=
while getopts j:s:c: option; do
    case $option in
        j) jobs=$OPTARG ;;
        s) seconds=$OPTARG ;;
        c) folder=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
build=$(realpath "$1")
shift
folder=${folder:-$build/campaign}
mkdir -p "$folder/logs" "$folder/findings"
folder=$(realpath "$folder")

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in "$here"/fuzz_*.c; do
        name=$(basename "$source" .c)
        [ ! -x "$build/fuzz/$name" ] || targets+=("${name#fuzz_}")
    done
fi
[ ${#targets[@]} -gt 0 ] || {
    echo "run.sh: no targets in $build/fuzz: meson compile -C $build fuzz" >&2
    exit 2
}

# Freed memory that ASan keeps counts towards the limit of libFuzzer, so keep little of it.
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=32}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}

# CPU time that the children of this shell have taken, in seconds, into $used.
cpu_used() {
    times >"$1" # neither in a pipe nor in $(...): those would ask another shell
    used=$(awk '{ split($1, u, /[ms]/); split($2, s, /[ms]/) } END { print int(u[1] * 60 + u[2] + s[1] * 60 + s[2]) }' "$1")
    rm -f "$1"
}

# One target, in slices: libFuzzer counts wall time, and the machine may be busy.
run_target() {
    local name=$1 seeds=("$here/corpus/image") max_len=131072 used=0 slice log status=0 executions dict=qcow2
    [ ! -d "$here/corpus/$name" ] || {
        seeds=("$here/corpus/$name")
        max_len=4096
    }
    [ ! -f "$here/dict/${name%%_*}.dict" ] || dict=${name%%_*}
    [ ! -d "$here/corpus/found_$name" ] || seeds+=("$here/corpus/found_$name")
    mkdir -p "$folder/corpus/$name"
    log=$folder/logs/$name
    : >"$log"
    while [ "$used" -lt "$seconds" ] && [ "$status" -eq 0 ]; do
        slice=$((seconds - used < 300 ? seconds - used : 300))
        "$build/fuzz/fuzz_$name" -max_total_time="$slice" -timeout=30 -rss_limit_mb=512 -malloc_limit_mb=256 \
            -max_len="$max_len" -dict="$here/dict/$dict.dict" -print_final_stats=1 \
            -artifact_prefix="$folder/findings/$name-" "$folder/corpus/$name" "${seeds[@]}" >>"$log" 2>&1 || status=$?
        cpu_used "$log.times"
    done
    executions=$(awk '/^stat::number_of_executed_units:/ { n += $2 } END { print n + 0 }' "$log")
    printf '%-14s %10d executions %6d s of CPU  %s\n' "$name" "$executions" "$used" \
        "$([ "$status" -eq 0 ] && echo "nothing found" || echo "FOUND: see $log")"
    return "$status"
}

failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$jobs" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    run_target "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
find "$folder/findings" -type f -size +0 -printf 'finding: %p\n'
exit "$failed"
