/* options_init.c - what callers compile in: struct_size first, the _INIT macro fills it, zero is the default
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qcbm-io.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A struct that grows is told apart by its size alone, which must be the first member. */
_Static_assert(offsetof(struct qcbm_synth_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_check_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_measure_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_manifest_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_import_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_extents_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_undo_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_edit_fields_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_verdict_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_rescue_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_attach_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_attach_verify_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_delta_merge_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_checkpoint_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_checkpoint_verify_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_checkpoint_mend_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_checkpoint_reclaim_options, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_checkpoint_xml_content, struct_size) == 0, "struct_size comes first");
_Static_assert(offsetof(struct qcbm_io_ops, struct_size) == 0, "struct_size comes first");
/* Values are part of the ABI. */
_Static_assert(QCBM_OK == 0 && QCBM_E_IO == -1 && QCBM_E_NOLOCKS == -17, "codes keep their values");
_Static_assert(sizeof(((struct qcbm_error *)NULL)->message) == 512, "callers own the message buffer");

static void synth_options_init_is_the_default(void)
{
    struct qcbm_synth_options o = QCBM_SYNTH_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.granularity == 0);
    CHECK(o.since == NULL && o.since_snapshot == NULL && o.snapshot == NULL);
    CHECK(o.refine == QCBM_REFINE_NONE && o.refine_against == NULL && o.refine_format == NULL);
    CHECK(o.flags == 0);
    CHECK(o.progress == NULL);
}

static void checkpoint_options_init_is_the_default(void)
{
    struct qcbm_checkpoint_options o = QCBM_CHECKPOINT_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.flags == 0 && o.open_flags == 0 && o.granularity == 0);
    CHECK(o.journal == NULL && o.undo_folder == NULL);
    CHECK(o.disk == NULL && o.step == NULL && o.opaque == NULL);
}

static void import_options_init_is_the_default(void)
{
    struct qcbm_import_options o = QCBM_IMPORT_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.format == QCBM_TRANSFER_QCBM);
    CHECK(o.granularity == 0);
    CHECK(o.flags == 0);
}

static void undo_options_init_is_the_default(void)
{
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(!o.dry_run && !o.force && o.step == NULL && o.opaque == NULL && o.progress == NULL);
}

static void measure_options_init_is_the_default(void)
{
    struct qcbm_measure_options o = QCBM_MEASURE_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.cluster_size == 0 && o.refcount_bits == 0 && o.version == 0 && o.flags == 0);
    CHECK(!o.extended_l2 && o.progress == NULL);
}

static void check_options_init_is_the_default(void)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.memory == UINT64_C(256) << 20);
    CHECK(o.finding == NULL && o.progress == NULL && o.opaque == NULL);
}

static void verdict_options_init_is_the_default(void)
{
    struct qcbm_verdict_options o = QCBM_VERDICT_OPTIONS_INIT;

    CHECK(o.struct_size == sizeof(o));
    CHECK(o.memory == UINT64_C(256) << 20);
    CHECK(o.reason == NULL && o.opaque == NULL && o.progress == NULL);
}

static void version_is_the_header_s(void)
{
    char expected[32];

    snprintf(expected, sizeof(expected), "%d.%d.%d", QCBM_VERSION_MAJOR, QCBM_VERSION_MINOR, QCBM_VERSION_PATCH);
    CHECK(strcmp(qcbm_version(), expected) == 0);
}

static void every_code_has_its_name(void)
{
    int code;

    for (code = QCBM_E_NOLOCKS; code < 0; code++)
        CHECK(strncmp(qcbm_code_name(code), "QCBM_E_", 7) == 0 && strcmp(qcbm_code_name(code), "QCBM_E_?") != 0);
    CHECK(strcmp(qcbm_code_name(QCBM_E_IO), "QCBM_E_IO") == 0);
    CHECK(strcmp(qcbm_code_name(QCBM_E_NOLOCKS - 1), "QCBM_E_?") == 0);
    CHECK(strcmp(qcbm_code_name(1), "QCBM_E_?") == 0);
}

static void freeing_null_is_fine(void)
{
    qcbm_close(NULL);
    qcbm_edit_free(NULL);
    qcbm_synth_result_free(NULL);
    qcbm_mem_free(NULL);
}

/* An error object is optional, and *out is NULL after a failure. */
static void a_failed_open_leaves_null(void)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = (struct qcbm_image *)&err;

    CHECK(qcbm_open("/nonexistent/image.qcow2", 0, &img, NULL) < 0);
    CHECK(img == NULL);
    CHECK(qcbm_open("/nonexistent/image.qcow2", 0, &img, &err) < 0);
    CHECK(err.code < 0 && err.message[0] != '\0' && strchr(err.message, '\n') == NULL);
}

int main(void)
{
    synth_options_init_is_the_default();
    checkpoint_options_init_is_the_default();
    import_options_init_is_the_default();
    undo_options_init_is_the_default();
    measure_options_init_is_the_default();
    check_options_init_is_the_default();
    verdict_options_init_is_the_default();
    version_is_the_header_s();
    every_code_has_its_name();
    freeing_null_is_fine();
    a_failed_open_leaves_null();
    return 0;
}
