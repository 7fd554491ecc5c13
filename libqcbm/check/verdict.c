/* verdict.c - may a stranger's image be handed to programs that trust it? The reasons against it
 * SPDX-License-Identifier: MIT
 *
 * Three sources: the header and its names, numbers against each other, and all that the check finds, a reason a kind.
 * Nothing is opened, and the work is that of a check. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "format/luks_header.h"
#include "image/chain.h"
#include "image/problems.h"
#include "image/snapshots.h"
#include "io/open.h"

/* A disk this large may be meant; beside a file this small it is there to fill the disk of who copies it. */
#define LARGE_DISK (UINT64_C(64) << 40)
#define LARGE_FILE (UINT64_C(1) << 40)
#define THIN_RATIO 1024u
/* No block of deflate gives more than 1032 bytes for one, so a whole image does not either. */
#define MAX_COMPRESSION 1032u
/* Tables that are longer than the disk needs: they grow by half at a time, and VM state takes entries too. */
#define TABLE_SLACK 16u
#define SMALL_TABLE (UINT64_C(1) << 20)
/* More bits than QEMU lets a bitmap have that is not in use: of one in use it takes the memory before it looks. */
#define MAX_BITMAP_BITS (8 * Q2_MAX_BITMAP_BYTES)

/* What is found here; what the check finds has the IDs of problems, behind these. */
enum {
    NAME_CHARACTERS,
    NAME_PROTOCOL,
    NAME_DEVICE,
    BACKING_FILE,
    BACKING_FORMAT_MISSING,
    DATA_FILE,
    UNKNOWN_EXTENSION,
    LUKS_HEADER,
    FEATURE_COMPATIBLE,
    FEATURE_AUTOCLEAR,
    ENCRYPTED,
    TABLE_SIZE,
    VIRTUAL_SIZE,
    FILE_SIZE,
    BITMAP_SIZE,
    COMPRESSION_RATIO,
    TOO_MANY_CLUSTERS,
    FEATURE_INCOMPATIBLE,
    HEADER,
    BY_CHECK
};
static const char *const codes[] = {
    [NAME_CHARACTERS] = "name-characters",
    [NAME_PROTOCOL] = "name-protocol",
    [NAME_DEVICE] = "name-device",
    [BACKING_FILE] = "backing-file",
    [BACKING_FORMAT_MISSING] = "backing-format-missing",
    [DATA_FILE] = "data-file",
    [UNKNOWN_EXTENSION] = "unknown-extension",
    [LUKS_HEADER] = "luks-header",
    [FEATURE_COMPATIBLE] = "feature-compatible",
    [FEATURE_AUTOCLEAR] = "feature-autoclear",
    [ENCRYPTED] = "encrypted",
    [TABLE_SIZE] = "table-size",
    [VIRTUAL_SIZE] = "virtual-size",
    [FILE_SIZE] = "file-size",
    [BITMAP_SIZE] = "bitmap-size",
    [COMPRESSION_RATIO] = "compression-ratio",
    [TOO_MANY_CLUSTERS] = "too-many-clusters",
    [FEATURE_INCOMPATIBLE] = "feature-incompatible",
    [HEADER] = "header",
};

/* One for each, so that an image cannot make the answer long. */
struct kept {
    struct qcbm_verdict_reason reason;
    char message[512];
};

enum { MAX_KEPT = BY_CHECK + QCBMI_PROBLEM_COUNT };

struct verdict {
    struct qcbm_image *handle;
    struct qcbmi_image *img; /* of the handle */
    struct qcbm_verdict_options o;
    struct qcbm_verdict r;
    size_t n;
    struct kept *kept;         /* MAX_KEPT of them; not on the stack, which may be small in a thread */
    struct kept *of[MAX_KEPT]; /* by its ID; NULL if there is none so far */
};

__attribute__((format(printf, 5, 6))) static void say(struct verdict *v, bool refuse, unsigned id, uint64_t offset,
                                                      const char *fmt, ...)
{
    const char *code = id < BY_CHECK ? codes[id] : qcbm_problem_get((enum qcbm_problem_id)(id - BY_CHECK))->code;
    struct kept *k = v->of[id];
    va_list args;

    if (k) {
        k->reason.count++;
        return;
    }
    k = v->of[id] = &v->kept[v->n++];
    k->reason = (struct qcbm_verdict_reason){ code, refuse, offset, 1, k->message };
    va_start(args, fmt);
    vsnprintf(k->message, sizeof(k->message), fmt, args);
    va_end(args);
}

/* ---- names ---------------------------------------------------------------------------------------------- */

#define TEXT 400u

static const char *text_of(char to[TEXT], const void *bytes, size_t len)
{
    return qcbmi_printable(to, TEXT, bytes, len);
}

static void judge_characters(struct verdict *v, const char *what, const void *name, size_t len, uint64_t offset)
{
    char text[TEXT];

    if (!qcbmi_is_printable(name, len))
        say(v, true, NAME_CHARACTERS, offset, "the %s has control characters or is no UTF-8: '%s'", what,
            text_of(text, name, len));
}

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* What a name leads to besides being one. No file system is asked: even that tells a stranger something. */
static void judge_target(struct verdict *v, const char *what, const char *name, uint64_t offset)
{
    const char *path = qcbmi_name_local(name);
    char text[TEXT];

    (void)text_of(text, name, strlen(name));
    if (qcbmi_name_has_protocol(name))
        say(v, true, NAME_PROTOCOL, offset, "the %s is a protocol for QEMU: '%s'", what, text);
    if (!path)
        return;
    if (starts_with(path, "/dev/") || starts_with(path, "/proc/") || starts_with(path, "/sys/"))
        say(v, true, NAME_DEVICE, offset, "the %s leads to a device or the kernel: '%s'", what, text);
}

static void judge_backing(struct verdict *v)
{
    const struct qcbmi_image *img = v->img;
    uint64_t offset = img->h.backing_offset;
    char text[TEXT];

    if (offset && img->h.backing_size) /* also of a name that begins with NUL, which QEMU takes for none */
        judge_characters(v, "backing file name", img->cluster0 + offset, img->h.backing_size, offset);
    if (!img->backing_file)
        return;
    say(v, true, BACKING_FILE, offset, "names a backing file, which a reader would open: '%s'",
        text_of(text, img->backing_file, strlen(img->backing_file)));
    judge_target(v, "backing file name", img->backing_file, offset);
    if (!img->backing_format)
        say(v, true, BACKING_FORMAT_MISSING, offset,
            "does not say the format of its backing file: QEMU guesses it from content that a guest can choose");
}

static void judge_data_file(struct verdict *v, const struct q2_extension *ext)
{
    struct qcbm_error ignored;
    char text[TEXT], *name = qcbmi_memdup_nul(ext->data, ext->len, &ignored);

    say(v, true, DATA_FILE, ext->offset, "names a data file, which a reader would open: '%s'",
        text_of(text, ext->data, ext->len));
    if (name)
        judge_target(v, "data file name", name, ext->offset);
    free(name);
    judge_characters(v, "data file name", ext->data, ext->len, ext->offset);
}

static void judge_extensions(struct verdict *v)
{
    const struct q2_extensions *exts = &v->img->exts;

    if (v->img->g.data_file && !q2_extension_find(exts, Q2_EXT_DATA_FILE))
        say(v, true, DATA_FILE, Q2_OFF_INCOMPATIBLE, "keeps its data in another file, which it does not name");
    for (size_t i = 0; i < exts->n; i++) {
        const struct q2_extension *e = &exts->list[i];

        switch (e->type) {
        case Q2_EXT_DATA_FILE:
            judge_data_file(v, e);
            break;
        case Q2_EXT_BACKING_FORMAT:
            judge_characters(v, "backing format", e->data, e->len, e->offset);
            break;
        case Q2_EXT_BITMAPS:
        case Q2_EXT_FEATURE_TABLE:
        case Q2_EXT_CRYPTO:
        case Q2_EXT_IDENTITY:
        case Q2_EXT_PADDING:
        case Q2_EXT_TAG:
            break;
        default:
            say(v, false, UNKNOWN_EXTENSION, e->offset, "header extension 0x%08" PRIx32 " of %" PRIu32 " bytes",
                e->type, e->len);
        }
    }
}

static void judge_bitmap_names(struct verdict *v)
{
    const struct qcbmi_bitmap_list *list = v->handle->bitmaps;

    for (uint32_t i = 0; i < list->n; i++)
        judge_characters(v, "name of a bitmap", list->list[i].d.name, list->list[i].d.name_len,
                         list->list[i].entry_offset);
}

/* Where the table cannot be read the check says so. */
static void judge_snapshot_names(struct verdict *v)
{
    struct qcbm_error why;

    if (qcbmi_snapshots_load(v->img, &why) < 0)
        return;
    for (uint32_t i = 0; i < v->img->n_snapshots_loaded; i++) {
        const struct q2_snapshot *s = &v->img->snapshots[i];
        uint64_t offset = v->img->h.snapshots_offset + (uint64_t)(s->id - v->img->snapshot_table);

        judge_characters(v, "ID of a snapshot", s->id, s->id_len, offset);
        judge_characters(v, "name of a snapshot", s->name, s->name_len, offset);
    }
}

/* ---- the header ----------------------------------------------------------------------------------------- */

static void judge_luks(struct verdict *v)
{
    const struct q2_extension *ext = q2_extension_find(&v->img->exts, Q2_EXT_CRYPTO);

    if (!ext)
        say(v, true, LUKS_HEADER, Q2_OFF_CRYPT_METHOD, "is encrypted with LUKS, but has no header extension for it");
    else if (be64_load(ext->data + 8) < LUKS_HEADER_BYTES)
        say(v, true, LUKS_HEADER, ext->offset, "a LUKS header of %" PRIu64 " bytes: the shortest has %u",
            be64_load(ext->data + 8), (unsigned)LUKS_HEADER_BYTES);
}

static void judge_features(struct verdict *v)
{
    const struct q2_header *h = &v->img->h;
    uint64_t compatible = h->compatible & ~Q2_COMPAT_KNOWN, autoclear = h->autoclear & ~Q2_AUTOCLEAR_KNOWN;

    if (compatible)
        say(v, true, FEATURE_COMPATIBLE, Q2_OFF_COMPATIBLE, "unknown compatible features 0x%" PRIx64, compatible);
    if (autoclear)
        say(v, true, FEATURE_AUTOCLEAR, Q2_OFF_AUTOCLEAR, "unknown autoclear features 0x%" PRIx64, autoclear);
    if (h->crypt_method == 2)
        judge_luks(v);
    if (h->crypt_method)
        say(v, false, ENCRYPTED, Q2_OFF_CRYPT_METHOD, "is encrypted (%s): what is in it cannot be judged",
            h->crypt_method == 2 ? "LUKS" : "AES");
}

static void judge_table(struct verdict *v, const char *what, uint64_t bytes, uint64_t needed, uint64_t offset)
{
    if (bytes > u64_max(SMALL_TABLE, v->img->g.cluster_size) && bytes / TABLE_SLACK > needed)
        say(v, true, TABLE_SIZE, offset, "the %s has %" PRIu64 " bytes, where %" PRIu64 " would do", what, bytes,
            needed);
}

static void judge_sizes(struct verdict *v)
{
    const struct q2_geometry *g = &v->img->g;
    const struct q2_header *h = &v->img->h;
    uint64_t file = v->img->io.size, per_block = (uint64_t)g->cluster_size * 8 / g->refcount_bits;

    if (h->size > LARGE_DISK && h->size / THIN_RATIO > file)
        say(v, true, VIRTUAL_SIZE, Q2_OFF_SIZE, "a disk of %" PRIu64 " bytes in a file of %" PRIu64, h->size, file);
    if (file > LARGE_FILE && file / TABLE_SLACK > h->size)
        say(v, true, FILE_SIZE, QCBM_NO_OFFSET, "a file of %" PRIu64 " bytes for a disk of %" PRIu64, file, h->size);
    judge_table(v, "L1 table", 8 * (uint64_t)h->l1_entries, 8 * div_up(h->size, g->l2_span), Q2_OFF_L1_ENTRIES);
    judge_table(v, "refcount table", (uint64_t)h->reftable_clusters << g->cluster_bits,
                8 * div_up(div_up(file, g->cluster_size), per_block), Q2_OFF_REFTABLE_CLUSTERS);
}

static void judge_bitmap_sizes(struct verdict *v)
{
    const struct qcbmi_bitmap_list *list = v->handle->bitmaps;
    char text[TEXT];

    for (uint32_t i = 0; i < list->n; i++) {
        const struct q2_bitmap_dirent *d = &list->list[i].d;

        if (d->granularity_bits < 64 && v->img->h.size >> d->granularity_bits > MAX_BITMAP_BITS)
            say(v, true, BITMAP_SIZE, list->list[i].entry_offset,
                "bitmap '%s' has 2^%u bytes to a bit: QEMU takes memory for %" PRIu64 " bits, or aborts",
                text_of(text, d->name, d->name_len), d->granularity_bits, v->img->h.size >> d->granularity_bits);
    }
}

/* ---- the check ------------------------------------------------------------------------------------------ */

static int keep_finding(void *opaque, const struct qcbm_check_finding *f)
{
    bool note = f->problem->severity == QCBM_CHECK_WARNING || f->problem->severity == QCBM_CHECK_LEAK;

    say(opaque, !note, BY_CHECK + (unsigned)f->problem->id, f->offset, "%s", f->message);
    return 0;
}

static void judge_compression(struct verdict *v, const struct qcbm_check_result *r)
{
    uint64_t out = 0;

    if (!u64_mul(r->compressed_clusters, v->img->g.cluster_size, &out) || out / MAX_COMPRESSION > v->img->io.size)
        say(v, true, COMPRESSION_RATIO, QCBM_NO_OFFSET,
            "%" PRIu64 " compressed clusters of %" PRIu32 " bytes in a file of %" PRIu64 ": more than compression can",
            r->compressed_clusters, v->img->g.cluster_size, v->img->io.size);
}

static int judge_by_check(struct verdict *v, struct qcbm_error *err)
{
    struct qcbm_check_options options = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result r;
    struct qcbm_error why;
    int ret;

    options.memory = v->o.memory;
    options.finding = keep_finding;
    options.opaque = v;
    options.progress = v->o.progress;
    ret = qcbm_check(v->handle, &options, &r, sizeof(r), &why);
    judge_compression(v, &r);
    if (ret == QCBM_E_LIMIT)
        say(v, true, TOO_MANY_CLUSTERS, QCBM_NO_OFFSET, "cannot be checked: %s", why.message);
    if (ret == 0 || ret == QCBM_E_LIMIT || ret == QCBM_E_CORRUPT) /* corrupt: the finding is there */
        return 0;
    if (err)
        *err = why;
    return ret;
}

static int begin(struct verdict *v, struct qcbm_image *handle, const struct qcbm_verdict_options *options, size_t size,
                 struct qcbm_error *err)
{
    int ret = qcbmi_check_size(size, err);

    memset(v, 0, sizeof(*v));
    v->handle = handle;
    v->img = handle ? handle->image : NULL;
    v->o = (struct qcbm_verdict_options)QCBM_VERDICT_OPTIONS_INIT;
    if (ret == 0)
        ret = qcbmi_take_options(&v->o, sizeof(v->o), options, err);
    if (ret < 0)
        return ret;
    v->kept = qcbmi_alloc_array(MAX_KEPT, sizeof(*v->kept), err);
    return v->kept ? 0 : QCBM_E_NOMEM;
}

static int tell(struct verdict *v, struct qcbm_verdict *out, size_t size, struct qcbm_error *err)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct qcbm_verdict_reason *reason = &v->kept[i].reason;

        v->r.reasons += reason->refuse;
        v->r.notes += !reason->refuse;
        if (v->o.reason && v->o.reason(v->o.opaque, reason))
            return qcbmi_fail_stopped(err);
    }
    v->r.harmless = v->r.reasons == 0;
    qcbmi_give(out, size, &v->r, sizeof(v->r));
    return 0;
}

int qcbm_verdict(struct qcbm_image *img, const struct qcbm_verdict_options *options, struct qcbm_verdict *out,
                 size_t size, struct qcbm_error *err)
{
    struct verdict v;
    int ret = begin(&v, img, options, size, err);

    if (ret < 0)
        return ret;
    qcbmi_give(out, size, &v.r, sizeof(v.r)); /* zeros, should it fail */
    judge_backing(&v);
    judge_extensions(&v);
    judge_features(&v);
    judge_sizes(&v);
    judge_bitmap_sizes(&v);
    judge_bitmap_names(&v);
    judge_snapshot_names(&v);
    ret = judge_by_check(&v, err);
    if (ret == 0)
        ret = tell(&v, out, size, err);
    free(v.kept);
    return ret;
}

int qcbm_verdict_refused(const struct qcbm_error *why, const struct qcbm_verdict_options *options,
                         struct qcbm_verdict *out, size_t size, struct qcbm_error *err)
{
    bool by_format = why->code == QCBM_E_CORRUPT || why->code == QCBM_E_LIMIT || why->code == QCBM_E_UNSUPPORTED;
    struct verdict v;
    int ret = begin(&v, NULL, options, size, err);

    if (ret < 0)
        return ret;
    qcbmi_give(out, size, &v.r, sizeof(v.r));
    if (!by_format || why->offset == QCBM_NO_OFFSET) { /* it is the file, not what is in it */
        if (err)
            *err = *why;
        free(v.kept);
        return why->code;
    }
    if (why->code == QCBM_E_UNSUPPORTED && why->offset == Q2_OFF_INCOMPATIBLE)
        say(&v, true, FEATURE_INCOMPATIBLE, Q2_OFF_INCOMPATIBLE, "%s", why->message);
    else
        say(&v, true, HEADER, why->offset, "%s", why->message);
    ret = tell(&v, out, size, err);
    free(v.kept);
    return ret;
}
