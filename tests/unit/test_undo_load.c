/* test_undo_load.c - undo files that are not whole, or not undo files: refused before anything is written
 * SPDX-License-Identifier: MIT */
#include "undo_ground.h"

/* ---- refused: the undo file ---- */

static void every_byte_of_the_undo_file_is_guarded(void **state)
{
    struct ground *g = *state;
    size_t len, padding = 0;
    uint8_t *bytes = read_file(g->undo, &len);

    for (size_t i = 0; i < len; i++) {
        struct qcbm_undo_result r;
        struct qcbm_error err = { 0 };
        struct record *rec;
        int ret;

        bytes[i] ^= 4;
        write_file(g->undo, bytes, len);
        ret = undo_bytes(g->changed, g->changed_len, g->undo, &r, &rec, &err);
        assert_true(ret == (i < 8 ? QCBM_E_ARG : i < 12 ? QCBM_E_UNSUPPORTED : QCBM_E_CORRUPT) || ret == 0);
        assert_non_null(strstr(err.message, g->undo) || ret == 0 ? err.message : NULL);
        padding += ret == 0;
        assert_true(ret == 0 || rec->n == 0);
        record_free(rec);
        bytes[i] ^= 4;
    }
    assert_true(padding < 128); /* between the last record and the end mark */
    free(bytes);
}

static void every_cut_of_the_undo_file_is_incomplete(void **state)
{
    struct ground *g = *state;
    size_t len;
    uint8_t *bytes = read_file(g->undo, &len);

    for (size_t i = 0; i < len; i++) {
        write_file(g->undo, bytes, i);
        if (i == 0 || i >= QCBMI_UNDO_HEADER_BYTES)
            expect_refused(g, g->changed, g->changed_len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "is incomplete");
        else
            expect_refused(g, g->changed, g->changed_len,
                           i < 8    ? QCBM_E_ARG
                           : i < 12 ? QCBM_E_UNSUPPORTED
                                    : QCBM_E_CORRUPT,
                           QCBM_NO_OFFSET, "undo");
    }
    free(bytes);
}

/* What a stop while it was written leaves: records without a header, all but the end mark. */
static void an_undo_file_without_its_frame_is_incomplete(void **state)
{
    struct ground *g = *state;
    size_t len;
    uint8_t *bytes = read_file(g->undo, &len), *part = exact_copy(bytes, len);

    memset(part, 0, QCBMI_UNDO_HEADER_BYTES);
    write_file(g->undo, part, len - 96);
    expect_refused(g, g->b.bytes, g->b.len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "is incomplete: the operation was stopped");
    memcpy(part, bytes, len);
    memset(part + len - 96, 0, 96);
    write_file(g->undo, part, len);
    expect_refused(g, g->b.bytes, g->b.len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "is incomplete: the operation was stopped");
    write_file(g->undo, bytes, len - 96);
    expect_refused(g, g->b.bytes, g->b.len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "is incomplete, it has");
    free(bytes);
    free(part);
}

static void bytes_behind_the_undo_file_are_damage(void **state)
{
    struct ground *g = *state;
    size_t len;
    uint8_t *bytes = read_file(g->undo, &len);

    bytes[len] = 0;
    write_file(g->undo, bytes, len + 1);
    expect_refused(g, g->changed, g->changed_len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "is damaged: it has");
    free(bytes);
}

static void what_is_no_undo_file_is_told(void **state)
{
    struct ground *g = *state;

    write_file(g->undo, g->b.bytes, g->b.len);
    expect_refused(g, g->changed, g->changed_len, QCBM_E_ARG, QCBM_NO_OFFSET, "no undo file: the magic is missing");
    unlink(g->undo);
    expect_refused(g, g->changed, g->changed_len, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "No such file");
    snprintf(g->undo, sizeof(g->undo), "%s", g->dir.path);
    expect_refused(g, g->changed, g->changed_len, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "is a directory");
}

/* Digests that are right over numbers that are not: built by the same code, and refused for their order. */
static void records_out_of_order_are_damage(void **state)
{
    static const struct qcbmi_undo_record cases[][2] = {
        { { QCBMI_UNDO_APPENDED, 0, 1024, 512, 0 }, { QCBMI_UNDO_APPENDED, 0, 512, 512, 1 } },
        { { QCBMI_UNDO_APPENDED, 0, 512, 1024, 0 }, { QCBMI_UNDO_APPENDED, 0, 1024, 512, 1 } },
        { { QCBMI_UNDO_APPENDED, 0, 512, 512, 0 }, { QCBMI_UNDO_APPENDED, 0, 512, 100, 1 } },
        { { QCBMI_UNDO_APPENDED, 1, 512, 512, 0 }, { QCBMI_UNDO_APPENDED, 0, 512, 512, 1 } },
        { { QCBMI_UNDO_UNTOUCHED, 0, 0, 100, 0 }, { QCBMI_UNDO_APPENDED, 0, 512, 512, 1 } },
    };
    struct ground *g = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_undo_header h = {
            .version = 1, .n_stages = 2, .len_before = 512, .len_after = 4096, .n_records = 2
        };
        uint8_t bytes[1024] = { 0 };
        uint64_t at = QCBMI_UNDO_HEADER_BYTES;

        for (unsigned k = 0; k < 2; k++) {
            qcbmi_undo_record_seal(bytes + at, &cases[i][k]);
            at += qcbmi_undo_record_bytes(&cases[i][k]);
        }
        at = (at + 31) / 32 * 32;
        h.file_len = at + 32;
        qcbmi_undo_header_store(bytes, &h);
        qcbmi_undo_end_store(bytes + at, bytes);
        write_file(g->undo, bytes, (size_t)at + 32);
        expect_refused(g, g->changed, g->changed_len, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "does not fit");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_GROUND(every_byte_of_the_undo_file_is_guarded),
        ON_GROUND(every_cut_of_the_undo_file_is_incomplete),
        ON_GROUND(an_undo_file_without_its_frame_is_incomplete),
        ON_GROUND(bytes_behind_the_undo_file_are_damage),
        ON_GROUND(what_is_no_undo_file_is_told),
        ON_GROUND(records_out_of_order_are_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
