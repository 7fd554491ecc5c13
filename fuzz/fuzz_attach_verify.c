/* fuzz_attach_verify.c - metadata images that nobody has vouched for, verified and reset
 * SPDX-License-Identifier: MIT
 *
 * The input is an image, which is told that it has a raw data file; that is a small one of the target's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define DATA_BYTES 65536u
#define BUDGET_PER_BYTE 8u
#define BUDGET_FIXED (UINT64_C(4) << 20) /* pieces that neighbouring tables are read in */

static char data[64];

static void remove_data(void)
{
    (void)unlink(data);
}

/* Blocks of zeros and of others. */
static void make_data(void)
{
    static uint8_t bytes[DATA_BYTES];
    const char *top = getenv("TMPDIR");
    int fd;

    for (size_t i = 0; i < sizeof(bytes); i += 1536)
        memset(bytes + i, 7, i + 512 <= sizeof(bytes) ? 512 : sizeof(bytes) - i);
    snprintf(data, sizeof(data), "%s/fuzz-attach.XXXXXX", top && strlen(top) < 40 ? top : "/tmp");
    fd = mkstemp(data);
    if (fd < 0 || write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes) || close(fd) != 0)
        abort();
    atexit(remove_data);
}

/* ---- what is found ---- */

struct told {
    uint64_t hash, faults, warnings, covered, end; /* end: of the last range */
    bool entries;                                  /* something is wrong with entries or tables */
};

static int on_finding(void *opaque, const struct qcbm_attach_finding *f)
{
    struct told *t = opaque;

    t->hash = fuzz_hash_text(fuzz_hash_u64(fuzz_hash_u64(t->hash, f->offset), f->length), f->code);
    fuzz_require(f->message[0] && f->cure[0] && !strchr(f->message, '\n'), "finding", f->code);
    t->faults += f->fault;
    t->warnings += !f->fault;
    if (f->offset == QCBM_NO_OFFSET)
        return 0;
    fuzz_require(f->length > 0 && f->offset >= t->end, "finding", "not in the order of the disk, or empty");
    t->end = f->offset + f->length;
    t->entries = true;
    if (strcmp(f->code, "zero-over-data") != 0)
        t->covered += f->length;
    return 0;
}

static int verify(struct qcbm_image *img, struct told *t, struct qcbm_attach_verify_result *r)
{
    struct qcbm_attach_verify_options o = QCBM_ATTACH_VERIFY_OPTIONS_INIT;
    struct qcbm_image_info info;
    struct qcbm_error err;
    int ret;

    *t = (struct told){ .hash = FUZZ_HASH_START };
    o.data = data;
    o.finding = on_finding;
    o.opaque = t;
    ret = qcbm_attach_verify(img, &o, r, sizeof(*r), &err);
    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return ret;
    }
    qcbm_image_get_info(img, &info, sizeof(info));
    fuzz_require(t->end <= info.virtual_size, "finding", "past the end of the disk");
    fuzz_require(t->covered <= info.virtual_size && r->zero_bytes <= info.virtual_size - t->covered, "totals",
                 "more than the disk has");
    fuzz_require(r->zero_over_data <= r->zero_bytes && r->zero_over_data <= DATA_BYTES, "totals", "of zeros over data");
    fuzz_require(t->warnings == r->warnings && t->faults + r->left_out == r->faults, "totals", "of findings");
    return 0;
}

static void look(struct fuzz_file *f)
{
    struct qcbm_attach_verify_result r, again;
    struct told first, second;
    struct qcbm_image *img = fuzz_file_open(f, 0);

    if (!img)
        return;
    fuzz_file_reset(f);
    if (verify(img, &first, &r) == 0) {
        fuzz_file_budget(f, BUDGET_PER_BYTE * f->len + BUDGET_FIXED, "verify");
        fuzz_require(verify(img, &second, &again) == 0 && memcmp(&first, &second, sizeof(first)) == 0 &&
                         memcmp(&r, &again, sizeof(r)) == 0,
                     "verify", "tells something else the second time");
    }
    qcbm_close(img);
    fuzz_require(f->writes == 0, "verify", "writes");
}

/* ---- reset ---- */

static int reset(struct qcbm_image *img, struct qcbm_attach_reset *r)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(img, &edit, &err);

    if (ret == 0)
        ret = qcbm_edit_attach_reset(edit, data, r, sizeof(*r), &err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    qcbm_edit_free(edit);
    return ret;
}

/* Afterwards the image shows the data, and another one has nothing to do. */
static void try_reset(struct fuzz_file *f)
{
    struct qcbm_image *img = fuzz_file_open(f, QCBM_OPEN_WRITE);
    struct qcbm_attach_verify_result v;
    struct qcbm_attach_reset r;
    struct told told;
    int ret;

    if (!img)
        return;
    fuzz_file_reset(f);
    ret = reset(img, &r);
    qcbm_close(img);
    fuzz_require(ret == 0 || f->writes == 0, "reset", "is refused, and writes");
    if (ret < 0)
        return;
    img = fuzz_file_open(f, QCBM_OPEN_WRITE);
    fuzz_require(img != NULL, "reset", "the image does not open any more");
    fuzz_require(verify(img, &told, &v) == 0 && !told.entries && v.zero_bytes == 0, "reset", "an entry is not plain");
    fuzz_require(reset(img, &r) == 0 && r.entries == 0 && r.changed_bytes == 0, "reset",
                 "another one changes something");
    qcbm_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_file f;

    if (!data[0])
        make_data();
    fuzz_file_init(&f, bytes, size);
    if (f.len >= 96 &&
        (f.bytes[94] & 0x80) == 0) { /* a mutator that wants them unset says so in a bit that is reserved */
        f.bytes[79] |= QCBM_INCOMPAT_DATA_FILE;
        f.bytes[95] |= QCBM_AUTOCLEAR_RAW_DATA_FILE;
    }
    look(&f);
    try_reset(&f);
    fuzz_file_free(&f);
    return 0;
}
