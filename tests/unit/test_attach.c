/* test_attach.c - an image around raw data, verified and reset, while each allocation and each system call fails once:
 * one error, nothing leaked; no new image or all of it; entries and bits that another reset ends
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include <errno.h>

#include "fail_calls.h"
#include "format/q2_l1l2.h"
#include "rawdisk/attach_write.h"
#include "rawdisk/plain_entry.h"

#define DISK MIB(2)
#define HIDDEN KIB(64) /* offset of a cluster that reads as zeros, and is none */

struct world {
    struct temp_dir dir;
    char data[128], meta[128], kept[128]; /* kept: the image with entries that hide something */
};

static void write_all(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static uint8_t *read_all(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    uint8_t *bytes;

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    *len = (size_t)st.st_size;
    bytes = malloc(*len);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

static void copy_file(const char *from, const char *to)
{
    size_t len;
    uint8_t *bytes = read_all(from, &len);

    write_all(to, bytes, len);
    free(bytes);
}

static int attach(const struct world *w, struct qcbm_error *err)
{
    struct qcbm_attach_options o = QCBM_ATTACH_OPTIONS_INIT;

    o.cluster_size = 4096;
    o.bitmap = "b";
    return qcbm_attach(w->data, w->meta, &o, NULL, 0, err);
}

/* Three entries that read as zeros, one of them over data. */
static void hide(const struct world *w)
{
    size_t len;
    uint8_t *bytes = read_all(w->meta, &len);
    uint64_t l2 = be64_load(bytes + be64_load(bytes + 40)) & Q2_ENTRY_OFFSET_MASK;

    for (unsigned i = 0; i < 3; i++)
        bytes[l2 + (HIDDEN / 4096 + i) * 8 + 7] |= Q2_L2_ZERO;
    write_all(w->kept, bytes, len);
    free(bytes);
}

static void begin(struct world *w)
{
    struct qcbm_error err = { 0 };
    uint8_t *bytes = calloc(1, DISK);

    assert_non_null(bytes);
    bytes[HIDDEN + 4096 + 17] = 1;
    temp_dir_make(&w->dir);
    snprintf(w->data, sizeof(w->data), "%s", temp_path(&w->dir, "data"));
    snprintf(w->meta, sizeof(w->meta), "%s", temp_path(&w->dir, "meta"));
    snprintf(w->kept, sizeof(w->kept), "%s", temp_path(&w->dir, "kept"));
    write_all(w->data, bytes, DISK);
    free(bytes);
    assert_ok(attach(w, &err), &err);
    hide(w);
}

static bool is_there(const struct world *w, const char *suffix)
{
    char name[160];

    snprintf(name, sizeof(name), "%s%s", w->meta, suffix);
    return access(name, F_OK) == 0;
}

/* ---- one call fails ---- */

static int open_and_verify(const struct world *w, struct qcbm_attach_verify_result *r, struct qcbm_error *err)
{
    struct qcbm_image *img;
    int ret = qcbm_open(w->meta, 0, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_attach_verify(img, NULL, r, sizeof(*r), err);
    qcbm_close(img);
    return ret;
}

static int open_and_reset(const struct world *w, struct qcbm_error *err)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(w->meta, QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, err);
    if (ret == 0)
        ret = qcbm_edit_attach_reset(edit, NULL, NULL, 0, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    return ret;
}

/* Call @run with each single fault of each kind, from the first to the first that does not come any more. */
static void with_each_fault(struct world *w, void (*run)(struct world *w, const struct fail_plan *plan, bool *fired))
{
    static const enum fail_how hows[] = { FAIL_ERROR, FAIL_ALL, FAIL_SHORT };
    uint64_t n = 0;

    for (int call = FAIL_ALLOC; call < FAIL_CALLS; call++)
        for (unsigned how = 0; how < sizeof(hows) / sizeof(hows[0]); how++) {
            bool fired = hows[how] != FAIL_SHORT || call == FAIL_READ || call == FAIL_WRITE;

            for (uint64_t at = 1; fired; at++, n++) {
                const struct fail_plan plan = { (enum fail_call)call, at, hows[how],
                                                call == FAIL_ALLOC ? ENOMEM : EIO };

                run(w, &plan, &fired);
            }
        }
    assert_true(n > 100);
}

static void require_told(int ret, const struct qcbm_error *err)
{
    assert_true(ret == 0 || (ret == err->code && err->message[0] != '\0'));
}

static void faulty_attach(struct world *w, const struct fail_plan *plan, bool *fired)
{
    struct qcbm_error err = { 0 };
    struct fail_report report;
    int ret;

    unlink(w->meta);
    fail_arm(plan);
    ret = attach(w, &err);
    report = fail_disarm();
    *fired = report.fired;
    require_told(ret, &err);
    assert_int_equal(report.live_blocks, 0);
    assert_false(is_there(w, ".qcbm-new"));
    assert_int_equal(is_there(w, ""), ret == 0);
}

static void faulty_verify(struct world *w, const struct fail_plan *plan, bool *fired)
{
    struct qcbm_attach_verify_result r = { 0 };
    struct qcbm_error err = { 0 };
    struct fail_report report;
    int ret;

    fail_arm(plan);
    ret = open_and_verify(w, &r, &err);
    report = fail_disarm();
    *fired = report.fired;
    require_told(ret, &err);
    assert_int_equal(report.live_blocks, 0);
    if (ret == 0) /* data that does not open is a fault of its own */
        assert_true(r.faults > 0 && r.zero_bytes == 3 * 4096);
}

/* Whatever it left, the next one ends it, with the bits of what changes. */
static void faulty_reset(struct world *w, const struct fail_plan *plan, bool *fired)
{
    struct qcbm_attach_verify_result r = { 0 };
    struct qcbm_bitmap_usage usage;
    struct qcbm_error err = { 0 };
    struct fail_report report;
    struct qcbm_image *img;
    int ret;

    copy_file(w->kept, w->meta);
    fail_arm(plan);
    ret = open_and_reset(w, &err);
    report = fail_disarm();
    *fired = report.fired;
    require_told(ret, &err);
    assert_int_equal(report.live_blocks, 0);
    assert_int_equal(report.late_writes, 0);
    assert_ok(open_and_reset(w, &err), &err);
    assert_ok(open_and_verify(w, &r, &err), &err);
    assert_int_equal(r.faults + r.zero_bytes, 0);
    assert_ok(qcbm_open(w->meta, 0, &img, &err), &err);
    assert_ok(qcbm_bitmap_usage(img, 0, &usage, sizeof(usage), NULL, &err), &err);
    assert_int_equal(usage.dirty_bytes, 4096);
    qcbm_close(img);
}

static void an_attach_that_fails_leaves_no_file(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    with_each_fault(&w, faulty_attach);
    temp_dir_remove(&w.dir);
}

static void a_verify_that_fails_says_so(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    copy_file(w.kept, w.meta);
    with_each_fault(&w, faulty_verify);
    temp_dir_remove(&w.dir);
}

static void a_reset_that_fails_can_be_repeated(void **state)
{
    struct world w;

    (void)state;
    begin(&w);
    with_each_fault(&w, faulty_reset);
    temp_dir_remove(&w.dir);
}

/* ---- progress and callbacks ---- */

static int stop(void *opaque, uint64_t done, uint64_t total)
{
    uint64_t *left = opaque;

    assert_true(done <= total);
    return (*left)-- == 0;
}

static int stop_at_finding(void *opaque, const struct qcbm_attach_finding *f)
{
    (void)opaque;
    assert_string_equal(f->code, "zero-over-data");
    return 1;
}

static void a_callback_ends_it(void **state)
{
    struct qcbm_attach_verify_options o = QCBM_ATTACH_VERIFY_OPTIONS_INIT;
    struct qcbm_attach_options a = QCBM_ATTACH_OPTIONS_INIT;
    uint64_t left = 0;
    const struct qcbm_progress progress = { stop, &left };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct world w;

    (void)state;
    begin(&w);
    copy_file(w.kept, w.meta);
    assert_ok(qcbm_open(w.meta, 0, &img, &err), &err);
    o.finding = stop_at_finding;
    assert_int_equal(qcbm_attach_verify(img, &o, NULL, 0, &err), QCBM_E_ABORTED);
    o.progress = &progress;
    assert_int_equal(qcbm_attach_verify(img, &o, NULL, 0, &err), QCBM_E_ABORTED);
    qcbm_close(img);
    unlink(w.meta);
    left = 0;
    a.progress = &progress;
    assert_int_equal(qcbm_attach(w.data, w.meta, &a, NULL, 0, &err), QCBM_E_ABORTED);
    assert_false(is_there(&w, ""));
    assert_false(is_there(&w, ".qcbm-new"));
    temp_dir_remove(&w.dir);
}

/* ---- an edit with a reset ---- */

static void a_reset_joins_other_changes(void **state)
{
    struct qcbm_attach_reset r = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct qcbm_image *img;
    struct qcbm_bitmap_usage usage;
    struct world w;

    (void)state;
    begin(&w);
    copy_file(w.kept, w.meta);
    assert_ok(qcbm_open(w.meta, QCBM_OPEN_WRITE, &img, &err), &err);
    assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "new", 512, 0, &err), &err);
    assert_ok(qcbm_edit_remove(edit, "b", &err), &err);
    assert_ok(qcbm_edit_attach_reset(edit, w.data, &r, sizeof(r), &err), &err);
    assert_int_equal(r.entries, 3);
    assert_int_equal(r.reset_bytes, 3 * 4096);
    assert_int_equal(r.changed_bytes, 4096);
    assert_int_equal(r.bitmaps_marked, 1);
    assert_int_equal(qcbm_edit_attach_reset(edit, w.data, &r, sizeof(r), &err), QCBM_E_ARG);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
    assert_ok(qcbm_bitmap_usage(img, 0, &usage, sizeof(usage), NULL, &err), &err);
    assert_int_equal(usage.dirty_bytes, 4096);
    qcbm_close(img);
    temp_dir_remove(&w.dir);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    struct qcbm_bitmap_measure m;
    struct qcbm_error err = { 0 };
    uint64_t size;

    (void)state;
    assert_int_equal(qcbm_attach_measure(0, 65536, false, &size, &err), QCBM_E_ARG);
    assert_int_equal(qcbm_attach_measure(513, 65536, false, &size, &err), QCBM_E_ARG);
    assert_int_equal(qcbm_attach_measure(512, 65535, false, &size, &err), QCBM_E_ARG);
    assert_int_equal(qcbm_attach_measure(512, 256, false, &size, &err), QCBM_E_ARG);
    assert_int_equal(qcbm_attach_measure(512, 4 << 20, false, &size, &err), QCBM_E_ARG);
    assert_int_equal(qcbm_attach_measure(512, 4096, true, &size, &err), QCBM_E_ARG);
    assert_ok(qcbm_attach_measure(512, 512, false, &size, &err), &err);
    assert_ok(qcbm_attach_measure(512, 16384, true, &size, &err), &err);
    assert_ok(qcbm_attach_measure(512, 2 << 20, false, &size, &err), &err);
    assert_int_equal(qcbm_attach_measure(UINT64_MAX - 511, 2 << 20, false, &size, &err), QCBM_E_LIMIT);
    assert_int_equal(qcbm_attach_measure(INT64_MAX - 511, 2 << 20, false, &size, &err), QCBM_E_LIMIT);
    assert_int_equal(qcbm_attach_measure(UINT64_C(1) << 51, 65536, false, &size, &err), 0);
    assert_int_equal(qcbm_attach_measure((UINT64_C(1) << 51) + 512, 65536, false, &size, &err), QCBM_E_LIMIT);
    assert_int_equal(qcbm_bitmap_measure(512, 512, 256, &m, sizeof(m), &err), QCBM_E_ARG);
    assert_int_equal(qcbm_bitmap_measure(512, 512, UINT64_C(1) << 32, &m, sizeof(m), &err), QCBM_E_ARG);
    assert_int_equal(qcbm_bitmap_measure(UINT64_C(1) << 60, 512, 512, &m, sizeof(m), &err), QCBM_E_LIMIT);
    assert_ok(qcbm_bitmap_measure(512, 512, 512, &m, sizeof(m), &err), &err);
    assert_int_equal(m.granules, 1);
    assert_int_equal(m.least, 512);
    assert_int_equal(m.most, 1024);
}

/* As large as the unit that the device can discard, within what there is. */
static void clusters_for_a_device(void **state)
{
    (void)state;
    assert_int_equal(qcbmi_attach_cluster(0), KIB(64));
    assert_int_equal(qcbmi_attach_cluster(512), KIB(64));
    assert_int_equal(qcbmi_attach_cluster(KIB(128) - 1), KIB(64));
    assert_int_equal(qcbmi_attach_cluster(KIB(128)), KIB(128));
    assert_int_equal(qcbmi_attach_cluster(MIB(2)), MIB(2));
    assert_int_equal(qcbmi_attach_cluster(MIB(4)), MIB(2));
    assert_int_equal(qcbmi_attach_cluster(UINT64_MAX), MIB(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attach_that_fails_leaves_no_file),
        cmocka_unit_test(a_verify_that_fails_says_so),
        cmocka_unit_test(a_reset_that_fails_can_be_repeated),
        cmocka_unit_test(a_callback_ends_it),
        cmocka_unit_test(a_reset_joins_other_changes),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(clusters_for_a_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
