# dry_run_of_lost_table.sh - where the run is refused for a lost table a dry run is, in the same words, behind its figures
# SPDX-License-Identifier: MIT
fixture ten-overlay
poke overlay.qcow2 "$(peek overlay.qcow2 40 8)" 0000000000000000 # the first L1 entry

# as_the_run ARGUMENTS: the refusal of the dry run is that of the run
as_the_run() {
    local code=0
    fails unchanged overlay.qcow2 qcbm synth "$@" 2>run.err
    grep -q 'a mapping table is lost' run.err || complain "$*: $(cat run.err)"
    grep -q 'hint: --force goes on' run.err || complain "$*: $(cat run.err)"
    unchanged overlay.qcow2 qcbm synth --dry-run "$@" >dry.out 2>dry.err || code=$?
    [ "$code" -eq 1 ] || complain "$*: exit code $code"
    diff run.err dry.err >&2 || complain "$*: not the refusal of the run"
}

as_the_run overlay.qcow2 b0
grep -q '^b0: .* dirty' dry.out
grep -q '^note: 1 mapping table is lost' dry.out
if grep -q '^plan' dry.out; then
    complain "a plan: $(cat dry.out)"
fi
as_the_run -q overlay.qcow2 b0
[ ! -s dry.out ]
as_the_run -g 4k --into=base.qcow2 overlay.qcow2 b0
as_the_run --output=json overlay.qcow2 b0
json 'v["dry-run"] and v["plan"] is None and v["steps"] == [] and v["notes"][0].startswith("1 mapping table is lost")' cat dry.out
qemu-img bitmap --add base.qcow2 first
as_the_run --like=base.qcow2 overlay.qcow2

unchanged overlay.qcow2 qcbm synth -q --dry-run --force overlay.qcow2 b0
qcbm synth -q --force overlay.qcow2 b0
