/* fuzz_edit_fields.c - single fields of any image set by hand: it ends, and is refused with nothing written, or done as
 * told
 * SPDX-License-Identifier: MIT
 *
 * What stands behind "qcbmF\n", among the last 1024 bytes of the input, are edits, a line each; else a digest of the
 * input chooses them. Of an edit
 *  - a dry run writes nothing, and ends as the edit does;
 *  - one that is refused writes nothing;
 *  - otherwise the file has the bytes that were told, and all others as before;
 *  - and unless it was forced the image opens, with no more errors than before. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#define MEMORY (UINT64_C(1) << 20)
#define MAX_EDITS 4u
#define TAIL 1024u

struct edits {
    char text[MAX_EDITS][200];
    const char *list[MAX_EDITS];
    size_t n;
    uint64_t random;
};

struct run {
    struct qcbm_field_change changes[MAX_EDITS]; /* without strings and bytes, */
    uint8_t bytes[MAX_EDITS][8];                 /* but for the new ones */
    size_t n;
    struct qcbm_edit_fields_result r;
    int ret;
};

/* ---- which edits ---- */

static uint64_t next(struct edits *e)
{
    e->random = fuzz_hash_u64(e->random, e->random);
    return e->random >> 20;
}

static void lines_of(struct edits *e, const uint8_t *at, const uint8_t *end)
{
    while (at < end && e->n < MAX_EDITS) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((line_end ? line_end : end) - at);

        if (len > 0 && len < sizeof(e->text[0]) && !memchr(at, 0, len)) {
            memcpy(e->text[e->n], at, len);
            e->text[e->n][len] = '\0';
            e->n++;
        }
        at += len + 1;
    }
}

/* A field; numbers that lead somewhere in most images. */
static void choose_field(struct edits *e, unsigned cluster_bits, char *to, size_t size)
{
    static const char *const header[] = { "magic",
                                          "version",
                                          "backing_file_offset",
                                          "backing_file_size",
                                          "cluster_bits",
                                          "size",
                                          "crypt_method",
                                          "l1_size",
                                          "l1_table_offset",
                                          "refcount_table_offset",
                                          "refcount_table_clusters",
                                          "nb_snapshots",
                                          "snapshots_offset",
                                          "incompatible_features",
                                          "compatible_features",
                                          "autoclear_features",
                                          "refcount_order",
                                          "header_length",
                                          "compression_type" };
    static const char *const bitmap[] = { "bitmap_table_offset", "bitmap_table_size", "flags",          "type",
                                          "granularity_bits",    "name_size",         "extra_data_size" };
    static const char *const bitmaps[] = { "nb_bitmaps", "reserved", "bitmap_directory_size",
                                           "bitmap_directory_offset" };
    static const char *const snapshot[] = { "l1_table_offset", "l1_size",       "id_str_size",
                                            "name_size",       "vm_state_size", "extra_data_size" };
    uint64_t r = next(e), small = next(e) % 8, middle = next(e) % 200;

    switch (r % 12) {
    case 0:
        snprintf(to, size, "header %s", header[middle % 19]);
        break;
    case 1:
        snprintf(to, size, "extension %" PRIu64 " %s", small % 4, middle % 2 ? "type" : "length");
        break;
    case 2:
        snprintf(to, size, "l1 %" PRIu64, small % 4);
        break;
    case 3:
        snprintf(to, size, "subclusters 0x%" PRIx64, middle % 8 << cluster_bits);
        break;
    case 4:
        snprintf(to, size, "refcount %" PRIu64, middle);
        break;
    case 5:
        snprintf(to, size, "refcount_table %" PRIu64, small % 3);
        break;
    case 6:
        snprintf(to, size, "snapshot %" PRIu64 " %s", small % 3, snapshot[middle % 6]);
        break;
    case 7:
        snprintf(to, size, "bitmaps %s", bitmaps[middle % 4]);
        break;
    case 8:
        snprintf(to, size, "bitmap %s %s", small % 2 ? "fine" : small % 4 ? "0" : "1", bitmap[middle % 7]);
        break;
    case 9:
        snprintf(to, size, "bitmap_table %" PRIu64 " %" PRIu64, small % 3, middle % 4);
        break;
    default:
        snprintf(to, size, "l2 0x%" PRIx64, middle % 128 << cluster_bits);
    }
}

static uint64_t choose_value(struct edits *e, const uint8_t *data, size_t size, unsigned cluster_bits)
{
    uint64_t r = next(e);

    switch (r % 8) {
    case 0:
        return next(e) % 4;
    case 1:
        return UINT64_MAX >> next(e) % 64;
    case 2:
    case 3: /* a cluster of the file */
        return (next(e) % ((size >> cluster_bits) + 2) << cluster_bits) | (r & 64 ? UINT64_C(1) << 63 : 0) |
               (r >> 7 & 1);
    case 4:
        return UINT64_C(1) << next(e) % 64;
    default: /* what stands elsewhere */
        return size < 8 ? r : (uint64_t)data[next(e) % size] << (r >> 8) % 24;
    }
}

static void choose(struct edits *e, const uint8_t *data, size_t size)
{
    unsigned cluster_bits = size > 23 && data[23] >= 9 && data[23] <= 21 ? data[23] : 9;
    const uint8_t *from = size > TAIL ? data + size - TAIL : data, *end = data + size;

    *e = (struct edits){ .random = fuzz_hash(FUZZ_HASH_START, data, size) };
    for (; end - from >= 6; from++)
        if (memcmp(from, "qcbmF\n", 6) == 0) {
            lines_of(e, from + 6, end);
            break;
        }
    for (size_t n = 1 + next(e) % 3; e->n == 0 && n > 0; n--) {
        char field[128];

        choose_field(e, cluster_bits, field, sizeof(field));
        snprintf(e->text[n - 1], sizeof(e->text[0]), "%s=%" PRIu64, field, choose_value(e, data, size, cluster_bits));
        if (n == 1)
            e->n = 1;
    }
    while (e->n > 0 && e->n < 3 && e->text[e->n][0])
        e->n++;
    for (size_t i = 0; i < e->n; i++)
        e->list[i] = e->text[i];
}

/* ---- one of them ---- */

static int on_field(void *opaque, const struct qcbm_field_change *c)
{
    struct run *run = opaque;

    fuzz_require(run->n < MAX_EDITS && c->field && c->what && c->length >= 1 && c->length <= 8, "a change", "is none");
    run->changes[run->n] = *c;
    memcpy(run->bytes[run->n++], c->new_bytes, c->length);
    return 0;
}

static void edit(struct fuzz_file *f, const struct edits *e, unsigned flags, struct run *run)
{
    struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;
    struct qcbm_error err;

    memset(run, 0, sizeof(*run));
    fuzz_file_reset(f);
    o.flags = flags;
    o.memory = MEMORY;
    o.field = on_field;
    o.opaque = run;
    run->ret =
        qcbm_edit_fields_io(fuzz_file_ops(), f, QCBM_OPEN_WRITE, e->list, e->n, &o, &run->r, sizeof(run->r), &err);
    if (run->ret < 0)
        fuzz_check_error(&err, run->ret);
    fuzz_require(run->ret < 0 || run->n == e->n, "an edit", "is not told");
    fuzz_file_budget(f, (UINT64_C(512) << 20) + 600 * (uint64_t)f->len, "edit");
}

static uint64_t errors(struct fuzz_file *f, bool *opens)
{
    struct qcbm_image *img = fuzz_file_open(f, 0);
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result r = { 0 };

    *opens = img != NULL;
    o.memory = MEMORY;
    if (img && qcbm_check(img, &o, &r, sizeof(r), NULL) < 0)
        r.check_errors++;
    qcbm_close(img);
    return r.corruptions + r.check_errors + r.damages;
}

/* The file is as it was but for what was told. */
static void compare(const struct fuzz_file *f, const uint8_t *data, size_t size, const struct run *run)
{
    fuzz_require(f->len == size, "an edit", "changes the length");
    for (size_t i = 0; i < run->n; i++)
        fuzz_require(memcmp(f->bytes + run->changes[i].offset, run->bytes[i], run->changes[i].length) == 0, "an edit",
                     "does not write what it tells");
    for (size_t at = 0; at < size; at++) {
        bool told = f->bytes[at] == data[at];

        for (size_t i = 0; i < run->n && !told; i++)
            told = at >= run->changes[i].offset && at - run->changes[i].offset < run->changes[i].length;
        fuzz_require(told, "an edit", "writes what it does not tell");
    }
}

static void try_edit(const uint8_t *data, size_t size, const struct edits *e, unsigned flags)
{
    bool opened, opens;
    struct fuzz_file f;
    struct run dry, wet;
    uint64_t before;

    fuzz_file_init(&f, data, size);
    edit(&f, e, flags | QCBM_EDIT_FIELDS_DRY_RUN, &dry);
    fuzz_require(f.writes == 0, "a dry run", "writes");
    before = errors(&f, &opened);
    edit(&f, e, flags, &wet);
    fuzz_require(wet.ret == dry.ret || (dry.ret == 0 && wet.ret == QCBM_E_UNSAFE && dry.r.sectors > 1), "an edit",
                 "ends otherwise than its dry run");
    compare(&f, data, size, wet.ret == 0 ? &wet : &(struct run){ .n = 0 });
    if (wet.ret == 0 && wet.r.writes && !wet.r.worse) {
        uint64_t after = errors(&f, &opens);

        fuzz_require(opens && after <= before, "an edit that was not worse", "has made it worse");
        fuzz_require(wet.r.opens_before == opened, "an edit", "does not know whether the image opened");
    }
    if (!(flags & QCBM_EDIT_FIELDS_FORCE))
        fuzz_require(wet.ret < 0 || !wet.r.worse, "an edit that was not forced", "has made it worse");
    fuzz_file_free(&f);
}

/* The same with the values that are there. */
static bool with_old_values(const uint8_t *data, size_t size, struct edits *e)
{
    struct fuzz_file f;
    struct run look;

    fuzz_file_init(&f, data, size);
    edit(&f, e, QCBM_EDIT_FIELDS_FORCE | QCBM_EDIT_FIELDS_DRY_RUN, &look);
    fuzz_file_free(&f);
    for (size_t i = 0; look.ret == 0 && i < e->n; i++) {
        char *value = strrchr(e->text[i], '='), field[200];
        const char *colon;

        snprintf(field, sizeof(field), "%.*s", (int)(value - e->text[i]), e->text[i]);
        colon = strrchr(field, ':');
        if (colon && strspn(colon + 1, " 0123456789abcdefxABCDEFX") == strlen(colon + 1))
            continue; /* it has one */
        snprintf(e->text[i], sizeof(e->text[i]), "%.150s: 0x%" PRIx64 "=0x%" PRIx64, field, look.changes[i].old_value,
                 look.changes[i].new_value);
    }
    return look.ret == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct edits e;

    choose(&e, data, size);
    if (e.n == 0)
        return 0;
    try_edit(data, size, &e, QCBM_EDIT_FIELDS_FORCE);
    if (with_old_values(data, size, &e))
        try_edit(data, size, &e, 0);
    return 0;
}
