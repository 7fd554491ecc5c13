/* struct_sizes.c - structs that grow: each that is filled is filled up to the size that the caller tells, each that is
 * read is read up to it, and numbers that are no size are refused before anything is done
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qcbm-io.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, now, #condition);                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CLUSTER 65536u
#define GUARD 0xa5

static const char *now = "setup";
static struct qcbm_image *img;
static struct qcbm_chain *chain;
static struct qcbm_edit *edit;
static struct qcbm_synth_result *synth;
static struct qcbm_error err;

/* ---- an image in memory, with bitmap "b", all that can be asked of it, and a finding ---- */

static void put(uint8_t *p, unsigned n_bytes, uint64_t v)
{
    while (n_bytes--) {
        p[n_bytes] = (uint8_t)v;
        v >>= 8;
    }
}

/* Header, refcount table, refcount block, L1 table: a cluster each, and 1 MiB of disk. */
static void empty_image(uint8_t *p)
{
    memcpy(p, "QFI\xfb", 4);
    put(p + 4, 4, 3);
    put(p + 20, 4, 16);
    put(p + 24, 8, 1 << 20);
    put(p + 36, 4, 1);
    put(p + 40, 8, 3 * CLUSTER);
    put(p + 48, 8, CLUSTER);
    put(p + 56, 4, 1);
    put(p + 96, 4, 4);
    put(p + 100, 4, 112);
    put(p + CLUSTER, 8, 2 * CLUSTER);
    for (int i = 0; i < 4; i++)
        put(p + 2 * CLUSTER + 2 * i, 2, 1);
}

static void setup(void)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    uint8_t *bytes = calloc(4, CLUSTER);
    struct qcbm_mem *mem = NULL;

    CHECK(bytes != NULL);
    empty_image(bytes);
    CHECK(qcbm_mem_new(bytes, 4 * CLUSTER, &mem, &err) == 0);
    free(bytes);
    CHECK(qcbm_open_io(qcbm_mem_ops(), mem, QCBM_OPEN_WRITE, &img, &err) == 0);
    CHECK(qcbm_synth(img, "b", NULL, NULL, &err) == 0);
    CHECK(qcbm_edit_begin(img, &edit, &err) == 0);
    CHECK(qcbm_edit_synth(edit, img, "c", &options, &synth, &err) == 0);
    CHECK(qcbm_chain_open(img, &chain, &err) == 0);
}

/* ---- what is filled ---- */

static int fill_image_info(void *out, size_t size)
{
    return qcbm_image_get_info(img, out, size);
}

static int fill_image_usage(void *out, size_t size)
{
    return qcbm_image_usage(img, out, size, NULL, &err);
}

static int fill_luks(void *out, size_t size)
{
    int ret = qcbm_image_luks(img, out, size, &err);

    return ret == QCBM_E_UNSUPPORTED ? 0 : ret; /* no LUKS; zeros in the struct */
}

static int fill_bitmap(void *out, size_t size)
{
    return qcbm_bitmap_get(img, 0, out, size);
}

static int fill_bitmap_usage(void *out, size_t size)
{
    return qcbm_bitmap_usage(img, 0, out, size, NULL, &err);
}

static int fill_edit_look(void *out, size_t size)
{
    return qcbm_edit_look(edit, "b", out, size, &err);
}

static int fill_plan(void *out, size_t size)
{
    return qcbm_edit_plan(edit, out, size, NULL, NULL, &err);
}

static int fill_synth_summary(void *out, size_t size)
{
    return qcbm_synth_result_summary(synth, out, size);
}

static int fill_synth_layer(void *out, size_t size)
{
    return qcbm_synth_result_layer(synth, 0, out, size);
}

static int fill_chain_layer(void *out, size_t size)
{
    return qcbm_chain_get(chain, 0, out, size, &err);
}

static int fill_measure(void *out, size_t size)
{
    return qcbm_measure(img, 0, NULL, out, size, &err);
}

static int fill_chain_measure(void *out, size_t size)
{
    return qcbm_chain_measure(chain, NULL, out, size, &err);
}

static int fill_check(void *out, size_t size)
{
    return qcbm_check(img, NULL, out, size, &err);
}

static int fill_check_report(void *out, size_t size)
{
    struct qcbm_check_report *report;
    int ret = qcbm_check_open(img, NULL, &report, out, size, &err);

    qcbm_check_close(report);
    return ret;
}

static int fill_verdict(void *out, size_t size)
{
    return qcbm_verdict(img, NULL, out, size, &err);
}

static int fill_verdict_refused(void *out, size_t size)
{
    const struct qcbm_error why = { .code = QCBM_E_CORRUPT, .offset = 8, .message = "bad" };

    return qcbm_verdict_refused(&why, NULL, out, size, &err);
}

/* Of an image of its own. */
static int edit_fields(const void *options, void *out, size_t size)
{
    static const char *const edits[] = { "header compatible_features: 0=1" };
    static uint8_t bytes[4 * CLUSTER];
    struct qcbm_mem *mem;

    empty_image(bytes);
    CHECK(qcbm_mem_new(bytes, sizeof(bytes), &mem, &err) == 0);
    return qcbm_edit_fields_io(qcbm_mem_ops(), mem, QCBM_OPEN_WRITE, edits, 1, options, out, size, &err);
}

static int fill_edit_fields(void *out, size_t size)
{
    return edit_fields(NULL, out, size);
}

/* Into memory. */
static struct made {
    uint8_t bytes[4096];
    size_t len;
} made;

static int put_bytes(void *opaque, const void *bytes, size_t len)
{
    struct made *to = opaque;

    CHECK(len <= sizeof(to->bytes) - to->len);
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
    return 0;
}

static int write_manifest(const void *options, void *out, size_t size)
{
    made.len = 0;
    return qcbm_manifest_write(chain, options, put_bytes, &made, out, size, &err);
}

static int fill_manifest_write(void *out, size_t size)
{
    return write_manifest(NULL, out, size);
}

static struct qcbm_manifest *open_manifest(void)
{
    struct qcbm_manifest_info info;
    struct qcbm_manifest *manifest;
    struct qcbm_mem *mem;

    CHECK(write_manifest(NULL, &info, sizeof(info)) == 0);
    CHECK(qcbm_mem_new(made.bytes, made.len, &mem, &err) == 0);
    CHECK(qcbm_manifest_open_io(qcbm_mem_ops(), mem, &manifest, &err) == 0);
    return manifest;
}

static int fill_manifest_info(void *out, size_t size)
{
    static struct qcbm_manifest *manifest; /* its text is pointed to */

    if (!manifest)
        manifest = open_manifest();
    return qcbm_manifest_get_info(manifest, out, size);
}

static int verify(const void *options, void *out, size_t size)
{
    struct qcbm_manifest *manifest = open_manifest();
    int ret = qcbm_manifest_verify(manifest, chain, options, NULL, NULL, out, size, &err);

    qcbm_manifest_close(manifest);
    return ret;
}

static int fill_manifest_verify(void *out, size_t size)
{
    return verify(NULL, out, size);
}

static int fill_copy_checked(void *out, size_t size)
{
    char path[] = "/tmp/struct_sizes.XXXXXX";
    int fd = mkstemp(path), ret;

    qcbm_manifest_close(open_manifest());
    CHECK(fd >= 0 && write(fd, made.bytes, made.len) == (ssize_t)made.len && close(fd) == 0);
    ret = qcbm_edit_check_copy(edit, "b", path, 0, NULL, out, size, &err);
    unlink(path);
    return ret;
}

static int fill_attach_verify(void *out, size_t size)
{
    return qcbm_attach_verify(img, NULL, out, size, &err);
}

static int fill_bitmap_measure(void *out, size_t size)
{
    return qcbm_bitmap_measure(1 << 20, CLUSTER, 512, out, size, &err);
}

/* A raw disk of its own. */
static int attach(const void *options, void *out, size_t size)
{
    char data[] = "/tmp/struct_sizes.XXXXXX", image[sizeof(data) + 6];
    int fd = mkstemp(data), ret;

    CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0 && close(fd) == 0);
    snprintf(image, sizeof(image), "%s.meta", data);
    ret = qcbm_attach(data, image, options, out, size, &err);
    unlink(image);
    unlink(data);
    return ret;
}

static int fill_attach(void *out, size_t size)
{
    return attach(NULL, out, size);
}

static char folder[] = "/tmp/struct_sizes.XXXXXX", foreign[64], merged[64], sidecar[64];

static void remove_deltas(void)
{
    unlink(foreign);
    unlink(merged);
    unlink(sidecar);
    rmdir(folder);
}

/* A delta without records whose id, which is drawn, stays the same from call to call: that of another program, merged
 * once. */
static void make_delta(void)
{
    static const char diff[] = "rbd diff v1\nt\1\0\0\0ss\0\2\0\0\0\0\0\0e";
    struct qcbm_delta_merge_result result;
    const char *const names[] = { foreign };
    int fd;

    if (foreign[0])
        return;
    CHECK(mkdtemp(folder));
    snprintf(foreign, sizeof(foreign), "%s/f", folder);
    snprintf(merged, sizeof(merged), "%s/m", folder);
    snprintf(sidecar, sizeof(sidecar), "%s/m.json", folder);
    atexit(remove_deltas);
    fd = open(foreign, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && write(fd, diff, sizeof diff - 1) == sizeof diff - 1 && close(fd) == 0);
    CHECK(qcbm_delta_merge(names, 1, merged, -1, NULL, &result, sizeof(result), &err) == 0);
}

static int merge_deltas(const void *options, void *out, size_t size)
{
    const char *const names[] = { merged };
    int nothing = open("/dev/null", O_WRONLY), ret;

    make_delta();
    ret = qcbm_delta_merge(names, 1, NULL, nothing, options, out, size, &err);
    close(nothing);
    return ret;
}

static int fill_merged_delta(void *out, size_t size)
{
    return merge_deltas(NULL, out, size);
}

static struct qcbm_checkpoint_xml *checkpoint;
static struct qcbm_domain_xml *domain;

static void setup_xml(void)
{
    static const char one[] = "<domaincheckpoint><name>c</name><disks><disk name='v'/></disks></domaincheckpoint>",
                      two[] = "<domain><name>d</name><devices><disk><target dev='v'/></disk></devices></domain>";

    CHECK(qcbm_checkpoint_xml_read(one, sizeof(one) - 1, &checkpoint, &err) == 0);
    CHECK(qcbm_domain_xml_read(two, sizeof(two) - 1, &domain, &err) == 0);
}

static void free_xml(void)
{
    qcbm_checkpoint_xml_free(checkpoint);
    qcbm_domain_xml_free(domain);
}

static int fill_checkpoint_xml(void *out, size_t size)
{
    return qcbm_checkpoint_xml_get_info(checkpoint, out, size);
}

static int fill_checkpoint_xml_disk(void *out, size_t size)
{
    return qcbm_checkpoint_xml_get_disk(checkpoint, 0, out, size);
}

static int fill_domain_xml(void *out, size_t size)
{
    return qcbm_domain_xml_get_info(domain, out, size);
}

static int fill_domain_xml_disk(void *out, size_t size)
{
    return qcbm_domain_xml_get_disk(domain, 0, out, size);
}

static const struct filled {
    const char *name;
    int (*fill)(void *out, size_t size);
    size_t size;
} filled[] = {
    { "image_info", fill_image_info, sizeof(struct qcbm_image_info) },
    { "image_usage", fill_image_usage, sizeof(struct qcbm_image_usage) },
    { "luks_info", fill_luks, sizeof(struct qcbm_luks_info) },
    { "bitmap_info", fill_bitmap, sizeof(struct qcbm_bitmap_info) },
    { "bitmap_usage", fill_bitmap_usage, sizeof(struct qcbm_bitmap_usage) },
    { "edit_bitmap_info", fill_edit_look, sizeof(struct qcbm_edit_bitmap_info) },
    { "copy_checked", fill_copy_checked, sizeof(struct qcbm_copy_checked) },
    { "plan_summary", fill_plan, sizeof(struct qcbm_plan_summary) },
    { "synth_summary", fill_synth_summary, sizeof(struct qcbm_synth_summary) },
    { "synth_layer", fill_synth_layer, sizeof(struct qcbm_synth_layer) },
    { "chain_layer", fill_chain_layer, sizeof(struct qcbm_chain_layer) },
    { "measure", fill_measure, sizeof(struct qcbm_measure) },
    { "delta_merge_result", fill_merged_delta, sizeof(struct qcbm_delta_merge_result) },
    { "measure of a chain", fill_chain_measure, sizeof(struct qcbm_measure) },
    { "check_result", fill_check, sizeof(struct qcbm_check_result) },
    { "check_result of a report", fill_check_report, sizeof(struct qcbm_check_result) },
    { "edit_fields_result", fill_edit_fields, sizeof(struct qcbm_edit_fields_result) },
    { "attach_result", fill_attach, sizeof(struct qcbm_attach_result) },
    { "attach_verify_result", fill_attach_verify, sizeof(struct qcbm_attach_verify_result) },
    { "manifest_info", fill_manifest_info, sizeof(struct qcbm_manifest_info) },
    { "manifest_info of a write", fill_manifest_write, sizeof(struct qcbm_manifest_info) },
    { "manifest_result", fill_manifest_verify, sizeof(struct qcbm_manifest_result) },
    { "bitmap_measure", fill_bitmap_measure, sizeof(struct qcbm_bitmap_measure) },
    { "checkpoint_xml_info", fill_checkpoint_xml, sizeof(struct qcbm_checkpoint_xml_info) },
    { "checkpoint_xml_disk", fill_checkpoint_xml_disk, sizeof(struct qcbm_checkpoint_xml_disk) },
    { "domain_xml_info", fill_domain_xml, sizeof(struct qcbm_domain_xml_info) },
    { "domain_xml_disk", fill_domain_xml_disk, sizeof(struct qcbm_domain_xml_disk) },
    { "verdict", fill_verdict, sizeof(struct qcbm_verdict) },
    { "verdict of a refused image", fill_verdict_refused, sizeof(struct qcbm_verdict) },
};

static bool all_bytes_are(const uint8_t *p, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* Each size that a struct may have had, and some that it may get: equal as far as both go, nothing behind the end. */
static void a_struct_is_filled_up_to_its_size(const struct filled *f)
{
    size_t room = f->size + 64;
    uint8_t *full = malloc(room), *part = malloc(room);

    CHECK(full != NULL && part != NULL);
    memset(full, GUARD, room);
    CHECK(f->fill(full, f->size) == 0);
    CHECK(all_bytes_are(full + f->size, 64, GUARD));
    CHECK(f->fill == fill_luks || !all_bytes_are(full, f->size, 0));
    for (size_t size = 4; size <= f->size + 32; size += 4) {
        size_t known = size < f->size ? size : f->size;

        memset(part, GUARD, room);
        CHECK(f->fill(part, size) == 0);
        CHECK(memcmp(part, full, known) == 0);
        CHECK(all_bytes_are(part + known, size - known, 0));
        CHECK(all_bytes_are(part + size, room - size, GUARD));
    }
    free(full);
    free(part);
}

static const size_t no_size[] = { 0, 1, 3, 65537, (size_t)1 << 31, SIZE_MAX };

static void no_size_is_refused(const struct filled *f)
{
    uint8_t out[16];

    memset(out, GUARD, sizeof(out));
    for (size_t i = 0; i < sizeof(no_size) / sizeof(no_size[0]); i++) {
        memset(&err, 0, sizeof(err));
        CHECK(f->fill(out, no_size[i]) == QCBM_E_ARG);
        CHECK(err.code == 0 || strstr(err.message, "sizeof") != NULL);
        CHECK(all_bytes_are(out, sizeof(out), GUARD));
    }
}

/* ---- getters know their last entry ---- */

static void an_index_past_the_last_is_refused(void)
{
    struct qcbm_snapshot_info snapshot;
    struct qcbm_finding finding;
    struct qcbm_bitmap_info bitmap;
    struct qcbm_bitmap_usage usage;
    struct qcbm_chain_layer layer;
    struct qcbm_synth_layer synth_layer;

    now = "index";
    CHECK(qcbm_bitmap_get(img, 1, &bitmap, sizeof(bitmap)) == QCBM_E_ARG);
    CHECK(qcbm_stale_bitmap_get(img, 0, &bitmap, sizeof(bitmap)) == QCBM_E_ARG);
    CHECK(qcbm_bitmap_usage(img, 1, &usage, sizeof(usage), NULL, &err) == QCBM_E_ARG);
    CHECK(qcbm_bitmap_check_table(img, UINT32_MAX, &err) == QCBM_E_ARG);
    CHECK(qcbm_snapshot_get(img, 0, &snapshot, sizeof(snapshot)) == QCBM_E_ARG);
    CHECK(qcbm_finding_get(img, qcbm_finding_count(img), &finding, sizeof(finding)) == QCBM_E_ARG);
    CHECK(qcbm_chain_get(chain, 1, &layer, sizeof(layer), &err) == QCBM_E_ARG);
    CHECK(qcbm_synth_result_layer(synth, 1, &synth_layer, sizeof(synth_layer)) == QCBM_E_ARG);
    CHECK(qcbm_synth_result_note(synth, UINT32_MAX) == NULL);
}

/* ---- what is read ---- */

static int read_synth(const void *options)
{
    struct qcbm_edit *other = NULL;
    int ret = qcbm_edit_begin(img, &other, &err);

    if (ret == 0)
        ret = qcbm_edit_synth(other, img, "d", options, NULL, &err);
    qcbm_edit_free(other);
    return ret;
}

static int ignore_extent(void *opaque, const struct qcbm_extent *extent)
{
    (void)opaque;
    (void)extent;
    return 0;
}

static int read_extents(const void *options)
{
    return qcbm_bitmap_extents_of(img, "b", options, ignore_extent, NULL, &err);
}

static int read_manifest_write(const void *options)
{
    struct qcbm_manifest_info info;

    return write_manifest(options, &info, sizeof(info));
}

static int read_manifest_verify(const void *options)
{
    struct qcbm_manifest_result out;

    return verify(options, &out, sizeof(out));
}

static int read_measure(const void *options)
{
    struct qcbm_measure out;

    return qcbm_measure(img, 0, options, &out, sizeof(out), &err);
}

static int read_measure_of_size(const void *options)
{
    struct qcbm_measure out;

    return qcbm_measure(NULL, 1 << 20, options, &out, sizeof(out), &err);
}

static int read_check(const void *options)
{
    struct qcbm_check_result out;

    return qcbm_check(img, options, &out, sizeof(out), &err);
}

static int read_verdict(const void *options)
{
    struct qcbm_verdict out;

    return qcbm_verdict(img, options, &out, sizeof(out), &err);
}

/* Fails in any case, by what is in the options or, once they are taken, by the file that is not there. */
static int read_undo(const void *options)
{
    int ret = qcbm_undo(img, "/nonexistent/undo", options, NULL, 0, &err);

    return ret == QCBM_E_ARG && strstr(err.message, "struct_size") ? ret : ret == QCBM_E_UNSUPPORTED ? ret : 0;
}

static int read_edit_fields(const void *options)
{
    struct qcbm_edit_fields_result out;

    return edit_fields(options, &out, sizeof(out));
}

static int read_merge(const void *options)
{
    struct qcbm_delta_merge_result out;

    return merge_deltas(options, &out, sizeof(out));
}

static int64_t nothing(void *opaque, void *buf, size_t len)
{
    (void)opaque;
    (void)buf;
    (void)len;
    return 0;
}

static int read_import(const void *options)
{
    struct qcbm_edit *other = NULL;
    int ret = qcbm_edit_begin(img, &other, &err);

    if (ret == 0)
        ret = qcbm_edit_import(other, "d", options, nothing, NULL, NULL, 0, &err);
    qcbm_edit_free(other);
    return ret == QCBM_E_CORRUPT ? 0 : ret; /* an empty file: the options were taken */
}

static const struct qcbm_synth_options synth_init = QCBM_SYNTH_OPTIONS_INIT;
static const struct qcbm_extents_options extents_init = QCBM_EXTENTS_OPTIONS_INIT;
static const struct qcbm_manifest_options manifest_init = QCBM_MANIFEST_OPTIONS_INIT;
static const struct qcbm_measure_options measure_init = QCBM_MEASURE_OPTIONS_INIT;
static const struct qcbm_check_options check_init = QCBM_CHECK_OPTIONS_INIT;
static const struct qcbm_verdict_options verdict_init = QCBM_VERDICT_OPTIONS_INIT;
static const struct qcbm_undo_options undo_init = QCBM_UNDO_OPTIONS_INIT;
static const struct qcbm_edit_fields_options edit_fields_init = QCBM_EDIT_FIELDS_OPTIONS_INIT;
static const struct qcbm_delta_merge_options merge_init = QCBM_DELTA_MERGE_OPTIONS_INIT;
static const struct qcbm_import_options import_init = QCBM_IMPORT_OPTIONS_INIT;

static const struct qcbm_attach_options attach_init = QCBM_ATTACH_OPTIONS_INIT;
static const struct qcbm_attach_verify_options attach_verify_init = QCBM_ATTACH_VERIFY_OPTIONS_INIT;

static int read_attach(const void *options)
{
    return attach(options, NULL, 0);
}

static int read_attach_verify(const void *options)
{
    return qcbm_attach_verify(img, options, NULL, 0, &err);
}

static const struct taken {
    const char *name;
    int (*read)(const void *options);
    const void *init;
    size_t size;
} taken[] = {
    { "synth_options", read_synth, &synth_init, sizeof(synth_init) },
    { "extents_options", read_extents, &extents_init, sizeof(extents_init) },
    { "manifest_options", read_manifest_write, &manifest_init, sizeof(manifest_init) },
    { "manifest_options of verify", read_manifest_verify, &manifest_init, sizeof(manifest_init) },
    { "measure_options", read_measure, &measure_init, sizeof(measure_init) },
    { "measure_options of a size", read_measure_of_size, &measure_init, sizeof(measure_init) },
    { "check_options", read_check, &check_init, sizeof(check_init) },
    { "verdict_options", read_verdict, &verdict_init, sizeof(verdict_init) },
    { "undo_options", read_undo, &undo_init, sizeof(undo_init) },
    { "edit_fields_options", read_edit_fields, &edit_fields_init, sizeof(edit_fields_init) },
    { "attach_options", read_attach, &attach_init, sizeof(attach_init) },
    { "attach_verify_options", read_attach_verify, &attach_verify_init, sizeof(attach_verify_init) },
    { "delta_merge_options", read_merge, &merge_init, sizeof(merge_init) },
    { "import_options", read_import, &import_init, sizeof(import_init) },
};

/* A copy of exactly @size bytes, so that a sanitizer sees one byte too many. */
static int read_as(const struct taken *t, size_t told, size_t size, uint8_t behind)
{
    uint8_t *copy = malloc(size);
    int ret;

    CHECK(copy != NULL);
    memset(copy, behind, size);
    memcpy(copy, t->init, size < t->size ? size : t->size);
    memcpy(copy, &told, sizeof(told));
    ret = t->read(copy);
    free(copy);
    return ret;
}

static void options_are_read_up_to_their_size(const struct taken *t)
{
    for (size_t size = sizeof(size_t); size <= t->size; size += 8)
        CHECK(read_as(t, size, size, 0) == 0);
    CHECK(read_as(t, t->size + 24, t->size + 24, 0) == 0);
    CHECK(read_as(t, t->size + 24, t->size + 24, 1) == QCBM_E_UNSUPPORTED);
    for (size_t i = 0; i < sizeof(no_size) / sizeof(no_size[0]); i++) {
        CHECK(read_as(t, no_size[i], t->size, 0) == QCBM_E_ARG);
        CHECK(strstr(err.message, "struct_size") != NULL);
    }
}

/* ---- a commit with a size that is none writes nothing ---- */

static void a_commit_is_filled_and_a_refused_one_writes_nothing(void)
{
    struct qcbm_plan_summary full, part;

    now = "commit";
    CHECK(qcbm_edit_plan(edit, &full, sizeof(full), NULL, NULL, &err) == 0);
    CHECK(qcbm_edit_commit(edit, &part, 0, &err) == QCBM_E_ARG);
    CHECK(qcbm_bitmap_get(img, 1, &(struct qcbm_bitmap_info){ 0 }, 8) == QCBM_E_ARG);
    memset(&part, GUARD, sizeof(part));
    CHECK(qcbm_edit_commit(edit, &part, 16, &err) == 0);
    CHECK(memcmp(&part, &full, 16) == 0);
    CHECK(all_bytes_are((uint8_t *)&part + 16, sizeof(part) - 16, GUARD));
    CHECK(qcbm_bitmap_get(img, 1, &(struct qcbm_bitmap_info){ 0 }, 8) == 0);
}

int main(void)
{
    setup();
    setup_xml();
    for (size_t i = 0; i < sizeof(filled) / sizeof(filled[0]); i++) {
        now = filled[i].name;
        a_struct_is_filled_up_to_its_size(&filled[i]);
        no_size_is_refused(&filled[i]);
    }
    an_index_past_the_last_is_refused();
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        now = taken[i].name;
        options_are_read_up_to_their_size(&taken[i]);
    }
    a_commit_is_filled_and_a_refused_one_writes_nothing();
    qcbm_synth_result_free(synth);
    qcbm_chain_close(chain);
    qcbm_edit_free(edit);
    qcbm_close(img);
    free_xml();
    return 0;
}
