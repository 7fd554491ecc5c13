/* attach.c - a metadata image for a raw file or block device, which is only looked at
 * SPDX-License-Identifier: MIT
 *
 * The data is opened for reading alone and locked as a reader locks it, so nobody writes to it meanwhile, and its bytes
 * and times stay. The new image is whole or not there. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/sized.h"
#include "format/probe.h"
#include "format/q2_limits.h"
#include "io/io_file.h"
#include "io/open.h"
#include "io/unfinished.h"
#include "rawdisk/attach_write.h"
#include "write/new_file.h"

#define DEFAULT_CLUSTER 65536u
#define MAX_CLUSTER (1u << Q2_MAX_CLUSTER_BITS)

struct job {
    const char *data, *path;
    struct qcbm_attach_options o;
    struct qcbmi_io io; /* of the data */
    char *name;         /* that is stored */
    uint64_t discard;
    struct qcbmi_attach a;
};

/* ---- the data ---- */

static int check_size(const struct job *j, struct qcbm_error *err)
{
    uint64_t size = j->io.size;

    if (size == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the data is empty: a disk has at least 512 bytes");
    if (!is_aligned(size, Q2_SECTOR))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the data has %" PRIu64 " bytes, and a disk whole sectors of 512: 'truncate -s %" PRIu64
                          "' adds zeros, as QEMU shows them behind such an end",
                          size, align_up(size, Q2_SECTOR));
    return 0;
}

/* Who names a qcow2 image here wants something else; but a guest may write to its disk what it likes. */
static int check_format(struct job *j, struct qcbm_error *err)
{
    uint8_t head[QCBMI_PROBE_BYTES] = { 0 };
    const char *format;
    int ret = qcbmi_io_read(&j->io, 0, head, u64_min(sizeof(head), j->io.size), "data", err);

    if (ret < 0 || (j->o.flags & QCBM_ATTACH_FORCE))
        return ret;
    format = qcbmi_probe(head, j->data);
    if (strcmp(format, "raw") == 0)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, 0,
                      "the data begins as a %s image does, and the guest would see that file itself; --force if it is "
                      "what a guest wrote to its raw disk",
                      format);
}

static int open_data(struct job *j, struct qcbm_error *err)
{
    int ret = qcbmi_open(&j->io, j->data, false, err);

    if (ret == 0)
        ret = qcbmi_lock(&j->io, j->o.flags & QCBM_ATTACH_NO_LOCK ? QCBM_OPEN_NO_LOCK : 0, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&j->io, err);
    if (ret == 0) /* what is gone on with behind the new image would be in none of its bitmaps */
        ret = qcbmi_unfinished_refuse(j->data, err);
    if (ret == 0)
        ret = check_size(j, err);
    if (ret == 0)
        ret = check_format(j, err);
    if (ret < 0)
        return ret;
    j->discard = j->io.traits.is_device ? qcbmi_file_discard_granularity(j->io.self) : 0;
    return 0;
}

/* ---- what is made ---- */

static int check_leads_to_data(const struct job *j, struct qcbm_error *err)
{
    struct qcbmi_file_id id;
    char text[256];

    if ((j->o.flags & QCBM_ATTACH_FORCE) ||
        (qcbmi_identify(j->name, &id, NULL) == 0 && qcbmi_same_file(&id, &j->io.id)))
        return 0;
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "the name '%s' does not lead to the data: a relative one starts in the working directory of who opens "
        "the image; --force if it will be right where the image is used",
        qcbmi_printable(text, sizeof(text), j->name, strlen(j->name)));
}

static int choose_name(struct job *j, struct qcbm_error *err)
{
    const char *wish = j->o.data_name;

    if (wish && !*wish)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the name of the data that is to be stored is empty");
    j->name = wish ? qcbmi_memdup_nul(wish, strlen(wish), err) : qcbmi_name_absolute(j->data, err);
    if (!j->name)
        return wish ? QCBM_E_NOMEM : err ? err->code : QCBM_E_IO;
    return wish ? check_leads_to_data(j, err) : 0;
}

uint32_t qcbmi_attach_cluster(uint64_t discard)
{
    uint32_t cs = DEFAULT_CLUSTER;

    while (cs < MAX_CLUSTER && 2 * (uint64_t)cs <= discard)
        cs *= 2;
    return cs;
}

static uint32_t choose_cluster(const struct job *j)
{
    if (j->o.cluster_size)
        return j->o.cluster_size;
    return j->o.flags & QCBM_ATTACH_EXTENDED_L2 ? MAX_CLUSTER : qcbmi_attach_cluster(j->discard);
}

static int choose_granularity(const struct job *j, unsigned *bits, struct qcbm_error *err)
{
    uint64_t g = j->o.granularity;

    *bits = 0;
    if (g == 0)
        return 0;
    if ((g & (g - 1)) || g < UINT64_C(1) << Q2_MIN_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Granularity must be power of 2 and at least 512");
    if (g > UINT64_C(1) << Q2_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Granularity must be at most 2 GiB (2147483648)");
    *bits = (unsigned)__builtin_ctzll(g);
    return 0;
}

static int choose(struct job *j, struct qcbm_error *err)
{
    int ret = choose_name(j, err);

    if (ret < 0)
        return ret;
    j->a = (struct qcbmi_attach){ .size = j->io.size, .data_name = j->name, .bitmap = j->o.bitmap };
    j->a.cluster_size = choose_cluster(j);
    j->a.extended_l2 = j->o.flags & QCBM_ATTACH_EXTENDED_L2;
    j->a.disabled = j->o.flags & QCBM_ATTACH_BITMAP_DISABLED;
    j->a.progress = j->o.progress;
    return choose_granularity(j, &j->a.gran_bits, err);
}

/* ---- all of it ---- */

static int write_file(struct job *j, struct qcbm_error *err)
{
    struct qcbmi_new_file f;
    int ret = qcbmi_new_file_begin(&f, j->path, err);

    j->a.to = &f.io;
    if (ret == 0)
        ret = qcbmi_attach_write(&j->a, err);
    j->a.to = NULL;
    return qcbmi_new_file_end(&f, ret, err);
}

static int attach(struct job *j, struct qcbm_error *err)
{
    int ret = open_data(j, err);

    if (ret == 0)
        ret = choose(j, err);
    if (ret < 0)
        return ret;
    if (!(j->o.flags & QCBM_ATTACH_DRY_RUN))
        return write_file(j, err);
    if (qcbmi_file_exists(j->path))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the new file '%s' exists already and is not overwritten",
                          j->path);
    return qcbmi_attach_write(&j->a, err);
}

static void fill(const struct job *j, struct qcbm_attach_result *r)
{
    *r = (struct qcbm_attach_result){ .virtual_size = j->a.size,
                                      .cluster_size = j->a.cluster_size,
                                      .extended_l2 = j->a.extended_l2,
                                      .data_is_device = j->io.traits.is_device,
                                      .file_size = j->a.file_size,
                                      .granularity = j->a.bitmap ? UINT64_C(1) << j->a.gran_bits : 0,
                                      .discard_granularity = j->discard };
}

static int check_options(const struct qcbm_attach_options *o, struct qcbm_error *err)
{
    const unsigned known = QCBM_ATTACH_DRY_RUN | QCBM_ATTACH_EXTENDED_L2 | QCBM_ATTACH_BITMAP_DISABLED |
                           QCBM_ATTACH_FORCE | QCBM_ATTACH_NO_LOCK;

    if (o->flags & ~known)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "unknown flags 0x%x", o->flags & ~known);
    if (!o->bitmap && (o->granularity || (o->flags & QCBM_ATTACH_BITMAP_DISABLED)))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there is no bitmap to have a granularity or a state");
    return 0;
}

int qcbm_attach(const char *data, const char *path, const struct qcbm_attach_options *options,
                struct qcbm_attach_result *out, size_t size, struct qcbm_error *err)
{
    struct job j = { .data = data, .path = path, .o = QCBM_ATTACH_OPTIONS_INIT };
    struct qcbm_attach_result result;
    struct qcbm_error own = { 0 }; /* some of what is called tells its code there alone */
    int ret = out ? qcbmi_check_size(size, err) : 0;

    err = err ? err : &own;
    if (ret == 0)
        ret = qcbmi_take_options(&j.o, sizeof(j.o), options, err);
    if (ret == 0)
        ret = check_options(&j.o, err);
    if (ret == 0)
        ret = attach(&j, err);
    if (ret == 0)
        fill(&j, &result);
    qcbmi_io_close(&j.io);
    free(j.name);
    if (ret == 0 && out)
        qcbmi_give(out, size, &result, sizeof(result));
    return ret;
}
