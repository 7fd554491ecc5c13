#!/usr/bin/env bash
# unit_tests.sh - each source of the library has a unit test of its name, or is listed below with what tests it instead
# SPDX-License-Identifier: MIT
set -euo pipefail
cd "$SOURCE_ROOT"

# SOURCE: the tests that reach it. A source that gets a test of its own leaves the list.
elsewhere() {
    cat <<'LIST'
bitmap_mark: repair_changed interop/apply.py
apply: interop/apply.py
apply_check: interop/apply.py
zeros_from: interop/apply.py
apply_compare: interop/apply.py
apply_each: interop/apply.py
apply_new: interop/apply.py
apply_resize: interop/apply.py
apply_state: apply_file interop/apply.py
apply_stream: interop/apply.py
disk_state: apply_file interop/apply.py
unfinished: interop/apply.py
apply_queue: guest_plan
apply_target: guest_plan
apply_write: guest_plan
page: fill
host_uses: host_map interop/picture.py
text: journal_link checkpoint
random: delta header_tag
header_ext: bitmap_ext header_tag
fence: checkpoint
switches: checkpoint
overlay_image: checkpoint
journal: checkpoint journal_file
together: checkpoint
create: checkpoint
goals: checkpoint
recover: checkpoint
recover_look: checkpoint interop/checkpoint.py
overlay_look: interop/checkpoint.py
granule_file: bitmap_file manifest_file
slow: l2_read guest_map_cost
since: extents_held synth_chain
extents_states: interop/extents_forms.py
bitset_bulk: bitset
q2_l2_scan_portable: q2_l2_scan
q2_l2_follow: q2_l2_runs
q2_l2_follow_portable: q2_l2_runs
q2_l2_follow_x86: q2_l2_runs
q2_l2_scan_x86: q2_l2_scan
q2_l2_scan_neon: q2_l2_scan
image: open
guest_pieces: guest_map guest_map_random guest_map_cost
snapshots: hostile/snapshot.c
undo_seal: undo undo_load
field_parse: field_edit
field_find: field_edit
field_judge: field_edit
field_said: field_edit
edit_list: bitmap_edit
xml_text: xml_checkpoint
disk_chain: interop/checkpoint_chain.py
report: interop/checkpoint_chain.py
verify: interop/checkpoint_chain.py
machine: interop/checkpoint_chain.py
machine_commit: interop/checkpoint_chain.py
mend: interop/checkpoint_chain.py
reclaim: interop/checkpoint_chain.py
check_summary: check interop/check.py
check_findings: check
check_reference: check interop/check.py
check_walk: refs interop/check.py
check_entries: check interop/check.py
check_sweep: check interop/check.py
check_count: check refs interop/check.py
check_tell: check interop/check.py
check_copied: interop/check.py
check_refcounts: check interop/check.py
check_compare: check interop/check.py
check_snapshots: interop/check.py
check_bitmaps: interop/check.py
check_suspects: interop/check.py
check_owners: interop/check.py
check_cure: interop/cures.py
check_refused: repair_guard interop/cures.py
check_overwritten: interop/check.py
leaks: interop/lost_tables.py
leak_count: interop/lost_tables.py
leak_none: l2_named interop/lost_tables.py
used_clusters: l2_named clusters
table_sweep: check interop/check.py
stored_counts: check interop/check.py
check_lost: interop/lost_tables.py
dump_header: dump
dump_tables: dump
dump_lists: dump
dump_items: dump
bitmap_export: bitmap_transfer
bitmap_import: bitmap_transfer
hasher: manifest
disk_digests: manifest interop/manifest.py
manifest_out: manifest
manifest_read: manifest
manifest_make: manifest
manifest_compare: manifest interop/manifest.py
manifest_api: manifest
against: interop/manifest.py
synth_against: interop/manifest.py
copy_check: interop/manifest.py
fingerprint: bitmap_transfer
bitmap_commit: interop/bitmap_chain.py
bitmap_collect: bitmap_setops interop/bitmap_chain.py
bitmap_below: interop/bitmap_chain.py
lost_tables: interop/lost_tables.py
synth_result: synth
synth_notes: synth
synth_lost: interop/lost_tables.py
synth_saved: synth interop/cures.py
synth_refine: interop/refine.py
refine_compare: refine
revive_doubt: revive interop/revive_lost.py
bitmap_mend: interop/repair.py
bitmap_shield: interop/repair.py
repair_bitmaps: interop/repair.py
repair_step: interop/repair.py
repair_look: interop/repair_mutations.py
repair_order: crash/repair_cuts.c
repair_snapshots: interop/repair_mutations.py
repair_mended: interop/repair_mutations.py
repair_l1: interop/repair_mutations.py
repair_l2: interop/repair_mutations.py
repair_two_owners: interop/repair_mutations.py
repair_refcounts: interop/repair_mutations.py
repair_rebuild: interop/repair_mutations.py
repair_leaks: interop/repair_mutations.py
repair_copied: interop/repair_mutations.py
repair_header: interop/repair_mutations.py
judge: rescue interop/rescue.py
attach_write: attach interop/attach.py
attach_measure: attach interop/attach.py
raw_scan: interop/attach.py
attach_verify: attach interop/attach.py
attach_entries: attach interop/attach.py
attach_reset: attach crash/attach_cuts.c
known: rescue interop/rescue.py
slots: rescue interop/rescue.py
candidates: rescue interop/rescue.py
placing: rescue interop/rescue.py
named: rescue interop/rescue.py
run: interop/rescue.py
looks: interop/rescue.py
lost_header: rescue interop/rescue.py
content: interop/rescue.py
votes: rescue interop/rescue.py
rebuilt: rescue interop/rescue.py
by_bitmap: rescue interop/rescue.py
by_backing: interop/rescue.py
evidence: rescue interop/rescue.py
left_data: interop/rescue.py
rebuild: rescue interop/rescue.py
final: rescue interop/rescue.py
tell: rescue interop/rescue.py
tell_left: rescue_proof
carried: rescue interop/rescue.py
writing: rescue interop/rescue.py
geometry: rescue interop/rescue.py
chain_api: interop/chain.py
read_api: data interop/read.py
usage_api: image_api interop/info.py
delta_meta: delta
io_pipe: delta
sidecar: delta
map_text: delta
raw_map: delta
deflate: delta
qcow2_identity: delta
qcow2_write: delta
qcow2_form: delta
forms: delta
writer: delta
reader: delta
stream_out: rbd_form vnb_form
merge_files: merge
merge_order: merge
merge_probes: merge
walk: interop/delta.py
pump: interop/delta.py
probes: interop/delta.py
make: interop/delta.py
info: interop/delta.py
LIST
}

failed=0
complain() {
    echo "$*" >&2
    failed=1
}

count=0
listed=$(elsewhere | cut -d: -f1)
for source in libqcbm/*/*.c; do
    name=$(basename "$source" .c)
    count=$((count + 1))
    [ -e "tests/unit/test_$name.c" ] || grep -qx "$name" <<<"$listed" ||
        complain "$source: no tests/unit/test_$name.c, and not on the list"
done
while IFS=: read -r name tests; do
    [ -n "$(find libqcbm -name "$name.c")" ] || complain "$name.c is listed and not there"
    [ ! -e "tests/unit/test_$name.c" ] || complain "$name.c is listed and has tests/unit/test_$name.c"
    for test in $tests; do
        [ -e "tests/unit/test_$test.c" ] || [ -e "tests/$test" ] || [ -e "fuzz/$test" ] ||
            complain "$name.c: there is no test $test"
    done
done < <(elsewhere)
twice=$(sort <<<"$listed" | uniq -d)
[ -z "$twice" ] || complain "listed twice: $twice"
[ "$count" -gt 50 ] || complain "only $count sources: looked in the wrong place"
exit "$failed"
