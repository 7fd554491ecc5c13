/* edit_cuts.c - what a cut of an edit of single fields leaves: of one sector the old or the new image, of several one
 * that the undo file leads back from
 * SPDX-License-Identifier: MIT
 *
 * usage: edit_cuts RANDOM IMAGE...    (works in the current folder)
 *
 * Also where the image does not open behind the edit, or in between. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_record.h"
#include "look.h"
#include "states.h"

#define UNDO_FILE "undo.tmp"
#define STATE_FILE "state.tmp"

/* Forced, so no old values: for any image. */
static const char *const one_sector[][2] = {
    { "header compatible_features=1", "header size=512" },
    { "header magic=0", "header cluster_bits=77" },
    { "refcount 0=3", "refcount 1=3" },
};
static const char *const several[][4] = {
    { "refcount 0=3", "header compatible_features=1", "refcount 2=0", "l1 0=0" },
    { "header version=9", "l1 0=512", "refcount_table 0=0", "refcount 1=2" },
};

struct run {
    const char *image;
    const uint8_t *start, *end;
    size_t len;
    bool one; /* sector */
    uint64_t old_states, new_states, between;
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s", r->image, what);
    look_fail(text, why);
}

static void write_state(const struct run *r, const uint8_t *bytes, size_t len)
{
    FILE *out = fopen(STATE_FILE, "wb");

    if (!out || fwrite(bytes, 1, len, out) != len || fclose(out) != 0)
        bad(r, STATE_FILE, "cannot be written");
}

static int try_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_undo_result result;
    struct qcbm_error err;
    bool is_old = len == r->len && memcmp(bytes, r->start, len) == 0;
    bool is_new = len == r->len && memcmp(bytes, r->end, len) == 0;
    uint8_t *undone;

    r->old_states += is_old;
    r->new_states += is_new;
    r->between += !is_old && !is_new;
    if (r->one && !is_old && !is_new)
        bad(r, what, "neither the old image nor the new one");
    write_state(r, bytes, len);
    o.force = true; /* a copy of the image, as far as times tell */
    if (qcbm_undo_path(STATE_FILE, QCBM_OPEN_WRITE, UNDO_FILE, &o, &result, sizeof(result), &err) < 0)
        bad(r, what, err.message);
    undone = look_read_file(STATE_FILE, &len);
    if (len != r->len || memcmp(undone, r->start, len) != 0)
        bad(r, what, "undone, and not the first image");
    free(undone);
    return 0;
}

static void try_edits(struct run *r, const char *const *edits, size_t n, unsigned random_subsets)
{
    struct record *record = record_new(r->start, r->len);
    struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;
    struct qcbm_edit_fields_result result;
    struct states_source src = { r->start, r->len, NULL, 0, random_subsets, 1 };
    struct states_count count;
    struct qcbm_error err;
    size_t len;

    unlink(UNDO_FILE);
    o.flags = QCBM_EDIT_FIELDS_FORCE;
    o.undo = UNDO_FILE;
    if (qcbm_edit_fields_io(record_ops(), record, QCBM_OPEN_WRITE, edits, n, &o, &result, sizeof(result), &err) < 0)
        bad(r, edits[0], err.message);
    if (r->one != (result.writes == 1))
        bad(r, edits[0], "other writes than that take");
    r->end = qcbm_mem_data(record->mem, &len);
    src.events = record->events;
    src.n = record->n;
    states_walk(&src, try_state, r, &count);
    record_free(record);
}

int main(int argc, char **argv)
{
    struct run r = { 0 };

    if (argc < 3)
        look_fail("usage", "edit_cuts RANDOM IMAGE...");
    for (int i = 2; i < argc; i++) {
        unsigned random_subsets = (unsigned)strtoul(argv[1], NULL, 10);
        uint8_t *bytes = look_read_file(argv[i], &r.len);

        r.image = argv[i];
        r.start = bytes;
        r.one = true;
        for (size_t k = 0; k < sizeof(one_sector) / sizeof(one_sector[0]); k++)
            try_edits(&r, one_sector[k], 2, random_subsets);
        r.one = false;
        for (size_t k = 0; k < sizeof(several) / sizeof(several[0]); k++)
            try_edits(&r, several[k], 4, random_subsets);
        free(bytes);
    }
    unlink(UNDO_FILE);
    unlink(STATE_FILE);
    printf("states of edits: %" PRIu64 " old, %" PRIu64 " new, %" PRIu64 " between: all undone\n", r.old_states,
           r.new_states, r.between);
    return r.old_states && r.new_states && r.between ? 0 : 1;
}
