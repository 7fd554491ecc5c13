/* check.c - the check as a whole: its order of work, references, findings, memory
 * SPDX-License-Identifier: MIT */
#include "check/check.h"
#include "base/sized.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "format/q2_refcount.h"

#define MIN_MEMORY (UINT64_C(4) << 10)
/* Tables that honest programs write are read a handful of times at most; hostile ones refer to each other at will. */
#define BUDGET_BASE (UINT64_C(64) << 20)
#define BUDGET_MAX (UINT64_C(16) << 30)
#define COST_OF_CLUSTER 16u  /* of counting one again */
#define COST_OF_MESSAGE 128u /* while tables are walked for messages */

static uint64_t *total_of(struct check *c, enum qcbm_check_severity severity)
{
    switch (severity) {
    case QCBM_CHECK_LEAK:
        return &c->r.leaks;
    case QCBM_CHECK_CORRUPTION:
        return &c->r.corruptions;
    case QCBM_CHECK_FAULT:
        return &c->r.check_errors;
    case QCBM_CHECK_DAMAGE:
        return &c->r.damages;
    default:
        return &c->r.warnings;
    }
}

static const char *hint_of(enum qcbm_problem_id id)
{
    if (id == P_REFCOUNT_OVERFLOW)
        return "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy "
               "if the image cannot be opened for writing";
    return NULL;
}

static bool may_tell(struct check *c)
{
    if (c->walking)
        return qcbmi_check_afford(c, COST_OF_MESSAGE);
    if (!c->comparing)
        return true;
    if (c->messages == 0)
        return false;
    if (--c->messages == 0) {
        c->comparing = false;
        (void)qcbmi_check_problem(c, P_MESSAGES_LEFT_OUT, 1, &CHECK_NOWHERE,
                                  "too many clusters have a wrong refcount to name all of them");
        c->comparing = true;
        return false;
    }
    return true;
}

int qcbmi_check_problem(struct check *c, enum qcbm_problem_id id, uint64_t weight, const struct check_place *at,
                        const char *fmt, ...)
{
    const struct qcbm_problem *rule = qcbm_problem_get(id);
    struct qcbm_check_finding f = { rule, at->offset, at->table, at->index, at->bitmap, NULL, hint_of(id) };
    char message[1024];
    va_list args;

    if (c->search || (c->only_overflow && id != P_REFCOUNT_OVERFLOW) ||
        (c->o.lost_only && id != P_LOST_TABLE && id != P_LOST_TABLE_SUSPECTED))
        return 0;
    c->noise = c->met[id] = true;
    if (c->tally)
        *total_of(c, rule->severity) += weight;
    if (!c->tell || !(c->o.finding || c->o.kind) || !may_tell(c))
        return 0;
    c->n_told[id]++;
    if (!c->o.finding)
        return 0;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    f.message = message;
    if (c->o.finding(c->o.opaque, &f))
        return qcbmi_fail_stopped(c->err);
    return 0;
}

int qcbmi_check_step(struct check *c, uint64_t bytes)
{
    return qcbmi_progress_add(&c->progress, bytes, c->err);
}

bool qcbmi_check_afford(struct check *c, uint64_t bytes)
{
    bool tally = c->tally, tell = c->tell, walking = c->walking;

    if (bytes <= c->budget) {
        c->budget -= bytes;
        return true;
    }
    if (!c->exhausted) {
        c->budget = 0;
        c->exhausted = true;
        c->tally = c->tell = true;
        c->walking = false;
        (void)qcbmi_check_problem(c, P_TOO_MUCH_WORK, 1, &CHECK_NOWHERE,
                                  "tables refer to the same bytes over and over; the rest of them was left out");
        c->tally = tally;
        c->tell = tell;
        c->walking = walking;
    }
    return false;
}

int qcbmi_check_read(struct check *c, uint64_t off, void *buf, uint64_t len, bool *zeros)
{
    uint64_t inside = off < c->img->io.size ? u64_min(len, c->img->io.size - off) : 0;

    /* The bytes of a hole are zeros, however long a hostile file pretends to be. */
    if (zeros)
        *zeros = inside == 0 || qcbmi_holes_cover(&c->holes, off, len);
    if (zeros && *zeros)
        return 0;
    memset((uint8_t *)buf + inside, 0, (size_t)(len - inside));
    return inside ? qcbmi_io_read(&c->img->io, off, buf, inside, "metadata", c->err) : 0;
}

/* A reference to a cluster that QEMU would count too far; it says so for each of them. */
static int tell_overflow(struct check *c, uint64_t cluster, const struct check_place *at)
{
    c->r.corruptions++;
    return qcbmi_check_problem(c, P_REFCOUNT_OVERFLOW, 0, at, "ERROR: overflow cluster offset=0x%" PRIx64,
                               cluster << c->g->cluster_bits);
}

static int tell_clusters(struct check *c, uint64_t first, uint64_t end, const struct check_place *at)
{
    uint64_t max = q2_refcount_max(c->g->refcount_order);
    int ret = 0;

    if (!c->overflow || !qcbmi_check_afford(c, COST_OF_CLUSTER * (end - first)))
        return 0;
    for (uint64_t k = first; ret == 0 && k < end; k++) {
        uint64_t excess = 0;

        ret = qcbmi_counts_add(&c->told, k, 1, 1, max, &excess, c->err);
        if (ret == 0 && excess)
            ret = tell_overflow(c, k, at);
    }
    return ret;
}

/* More than the user allows: leave the upper half of the range to another pass. */
static void keep_memory(struct check *c)
{
    while (c->refs.bytes + c->owners.bytes + c->stored.bytes > c->o.memory && c->hi - c->lo > QCBMI_COUNTS_CHUNK) {
        c->hi = c->lo + align_up((c->hi - c->lo) / 2, QCBMI_COUNTS_CHUNK);
        qcbmi_counts_cut(&c->refs, c->hi);
        qcbmi_counts_cut(&c->owners, c->hi);
        qcbmi_counts_cut(&c->stored, c->hi);
    }
}

static int count_clusters(struct check *c, uint64_t first, uint64_t end, uint64_t weight, uint64_t exclusive,
                          const struct check_place *at)
{
    uint64_t excess = 0, ignored = 0;
    int ret =
        qcbmi_counts_add(&c->refs, first, end - first, weight, q2_refcount_max(c->g->refcount_order), &excess, c->err);

    if (ret == 0 && exclusive)
        ret = qcbmi_counts_add(&c->owners, first, end - first, exclusive, UINT64_MAX, &ignored, c->err);
    if (end > c->n_clusters && !c->again)
        c->n_clusters = end;
    if (excess)
        c->overflow = true;
    if (ret == 0 && excess && c->tell)
        ret = tell_overflow(c, first, at);
    keep_memory(c);
    return ret;
}

/* QEMU allows the last cluster to be cut. It writes tables whole, so one that is cut lacks entries. */
int qcbmi_check_cut(struct check *c, uint64_t off, uint64_t len, const struct check_owner *owner,
                    const struct check_place *at)
{
    uint64_t size = c->img->io.size;

    if (!owner || owner->kind > OWNER_L2 || off == 0 || !is_aligned(off, c->g->cluster_size) ||
        range_fits(off, len, size))
        return 0;
    return qcbmi_check_problem(c, P_TABLE_CUT, 1, at,
                               "%s at 0x%" PRIx64 " is cut by the end of the file: %" PRIu64 " bytes are missing",
                               owner->kind == OWNER_L2 ? "the L2 table" : owner->what, off, off + len - size);
}

int qcbmi_check_reference(struct check *c, uint64_t off, uint64_t len, uint64_t weight, uint64_t exclusive,
                          const struct check_owner *owner, const struct check_place *at)
{
    uint64_t first = off >> c->g->cluster_bits, end;

    if (len == 0)
        return 0;
    /* Signed, as QEMU computes it: a last cluster may be cut short, but a byte of it must be there. */
    if ((int64_t)(off + len - c->file_len) >= (int64_t)c->g->cluster_size)
        return qcbmi_check_problem(c, qcbmi_check_is_plausible(c, off) ? P_REFERENCE_PAST_END : P_REFERENCE_NOWHERE,
                                   weight, at,
                                   "ERROR: counting reference for region exceeding the end of the file by one cluster "
                                   "or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
                                   off, len);
    end = ((off + len - 1) >> c->g->cluster_bits) + 1;
    if (c->search) {
        qcbmi_check_owner_found(c, first, end, owner);
        return 0;
    }
    if (qcbmi_check_cut(c, off, len, owner, at) < 0)
        return QCBM_E_ABORTED;
    return c->count ? count_clusters(c, first, end, weight, exclusive, at) : tell_clusters(c, first, end, at);
}

static int refer_meta(struct check *c, uint64_t off, uint64_t len, const char *what, uint64_t header_offset)
{
    return qcbmi_check_reference(c, off, len, 1, 1, &(struct check_owner){ OWNER_META, what, 0, 0 },
                                 &(struct check_place){ header_offset, "header", UINT64_MAX, UINT32_MAX });
}

static int tell_snapshot(struct check *c, uint32_t i)
{
    const struct check_snapshot *s = &c->snapshots[i];
    struct check_place at = { c->img->h.snapshots_offset, "snapshot table", i, UINT32_MAX };
    char id[256], name[256];

    (void)qcbmi_printable(id, sizeof(id), s->id, s->id_len);
    (void)qcbmi_printable(name, sizeof(name), s->name, s->name_len);
    if (!is_aligned(s->l1_offset, c->g->cluster_size))
        return qcbmi_check_problem(c, P_SNAPSHOT_L1_UNALIGNED, 1, &at,
                                   "ERROR snapshot %s (%s) l1_offset=%#" PRIx64
                                   ": L1 table is not cluster aligned; snapshot table entry corrupted",
                                   id, name, s->l1_offset);
    if (s->l1_entries > Q2_MAX_L1_BYTES / 8)
        return qcbmi_check_problem(c, P_SNAPSHOT_L1_SIZE, 1, &at,
                                   "ERROR snapshot %s (%s) l1_size=%#" PRIx32
                                   ": L1 table is too large; snapshot table entry corrupted",
                                   id, name, s->l1_entries);
    return !c->count ? qcbmi_check_tell_l1(c, s->l1_offset, s->l1_entries, i + 1) : 0;
}

static int walk_snapshots(struct check *c)
{
    int ret = 0;

    if (c->g->data_file && c->n_snapshots)
        ret = qcbmi_check_problem(c, P_SNAPSHOT_DATA_FILE, 1, &CHECK_NOWHERE,
                                  "ERROR %" PRIi32 " snapshots in image with data file", (int32_t)c->n_snapshots);
    for (uint32_t i = 0; ret == 0 && i < c->n_snapshots; i++)
        ret = tell_snapshot(c, i);
    return ret;
}

int qcbmi_check_walk(struct check *c)
{
    const struct q2_header *h = &c->img->h;
    const struct q2_extension *crypto = q2_extension_find(&c->img->exts, Q2_EXT_CRYPTO);
    int ret = refer_meta(c, 0, c->g->cluster_size, "the header", 0);

    if (ret == 0)
        ret = c->count ? qcbmi_check_count_tables(c) : qcbmi_check_tell_l1(c, h->l1_offset, h->l1_entries, 0);
    if (ret == 0)
        ret = walk_snapshots(c);
    if (ret == 0)
        ret = refer_meta(c, h->snapshots_offset, c->snapshots_len, "the snapshot table", Q2_OFF_SNAPSHOTS_OFFSET);
    if (ret == 0)
        ret = refer_meta(c, h->reftable_offset, (uint64_t)h->reftable_clusters << c->g->cluster_bits,
                         "the refcount table", Q2_OFF_REFTABLE_OFFSET);
    if (ret == 0 && crypto && h->crypt_method == 2)
        ret = refer_meta(c, be64_load(crypto->data), be64_load(crypto->data + 8), "the LUKS header", crypto->offset);
    if (ret == 0)
        ret = qcbmi_check_bitmap_references(c);
    return ret;
}

static void free_pass(struct check *c)
{
    qcbmi_counts_free(&c->refs);
    qcbmi_counts_free(&c->owners);
    qcbmi_counts_free(&c->stored);
    qcbmi_bitset_free(&c->l2_seen);
}

/* What the counting walk met, in the words and the order of QEMU. */
static int tell_walk(struct check *c)
{
    int ret = 0;

    c->count = c->tally = false;
    c->tell = c->walking = true;
    c->only_overflow = c->again;
    c->overflow_told = c->overflow;
    if (c->overflow)
        ret = qcbmi_counts_init(&c->told, 0, c->n_clusters, c->err);
    if (ret == 0)
        ret = qcbmi_check_walk(c);
    qcbmi_counts_free(&c->told);
    c->only_overflow = c->walking = false;
    return ret;
}

static int begin_pass(struct check *c)
{
    int ret = qcbmi_counts_init(&c->refs, c->lo, c->hi, c->err);

    if (ret == 0)
        ret = qcbmi_counts_init(&c->owners, c->lo, c->hi, c->err);
    if (ret == 0)
        ret = qcbmi_counts_init(&c->stored, c->lo, c->hi, c->err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&c->l2_seen, c->n_clusters + 2, c->err);
    if (ret == 0)
        ret = qcbmi_check_load_stored(c);
    if (ret == 0)
        keep_memory(c);
    return ret;
}

/* Clusters from c->lo on, as many as the memory allows. */
static int run_pass(struct check *c)
{
    int ret = begin_pass(c);

    c->count = true;
    c->tally = !c->again;
    c->tell = c->noise = false;
    if (ret == 0)
        ret = qcbmi_check_walk(c);
    if (ret == 0 && ((c->noise && !c->again) || (c->overflow && !c->overflow_told)))
        ret = tell_walk(c);
    c->count = c->tell = true;
    c->tally = !c->again;
    if (ret == 0)
        ret = qcbmi_check_refblocks(c);
    c->count = false;
    c->tally = true;
    c->comparing = true;
    if (ret == 0)
        ret = qcbmi_check_compare(c);
    c->comparing = false;
    if (ret == 0)
        ret = qcbmi_check_collect_suspects(c);
    free_pass(c);
    c->r.passes++;
    return ret;
}

static int run_passes(struct check *c)
{
    uint64_t end = c->n_clusters + 2; /* an unaligned reference may reach a little further */
    int ret = 0;

    for (c->lo = 0; ret == 0 && c->lo < c->n_clusters; c->lo = c->hi) {
        c->hi = end;
        ret = run_pass(c);
        c->again = true;
    }
    return ret;
}

static int warn_of_header(struct check *c)
{
    const struct q2_header *h = &c->img->h;
    struct check_place at = { Q2_OFF_INCOMPATIBLE, "header", UINT64_MAX, UINT32_MAX };
    int ret = 0;

    if (h->incompatible & QCBM_INCOMPAT_CORRUPT)
        ret = qcbmi_check_problem(c, P_HEADER_CORRUPT_BIT, 1, &at, "the image is marked corrupt");
    if (ret == 0 && (h->incompatible & QCBM_INCOMPAT_DIRTY))
        ret = qcbmi_check_problem(c, P_HEADER_DIRTY_BIT, 1, &at, "the image is marked dirty: it was not closed");
    at.offset = Q2_OFF_SIZE;
    if (ret == 0 && !is_aligned(h->size, Q2_SECTOR))
        ret = qcbmi_check_problem(c, P_HEADER_SIZE_ODD, 1, &at, "virtual size %" PRIu64 " is no multiple of 512",
                                  h->size);
    return ret;
}

/* Bytes that somebody had to provide: holes cost nothing, so they buy no work. */
static uint64_t real_length(struct check *c)
{
    uint64_t available, allocated = 0;

    if (qcbmi_io_space(&c->img->io, &available, &allocated, NULL) < 0 || allocated == 0) /* 0 for a device */
        return c->file_len;
    return u64_min(c->file_len, allocated);
}

static int prepare(struct check *c)
{
    int ret;

    c->n_clusters = div_up(c->file_len, c->g->cluster_size);
    if (c->n_clusters > INT32_MAX)
        return qcbmi_fail(c->err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "File too large");
    c->r.total_clusters = div_up(c->g->sector_size_down, c->g->cluster_size);
    c->real_len = real_length(c);
    c->budget = c->budget_full = BUDGET_BASE + u64_min(c->real_len, BUDGET_MAX);
    c->messages = c->budget_full / COST_OF_MESSAGE;
    c->block_offset = UINT64_MAX;
    q2_l2_scan_init(&c->scan, c->g, qcbmi_image_end(c->img));
    c->block = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    if (!c->block)
        return QCBM_E_NOMEM;
    ret = qcbmi_bitset_init(&c->l2_noisy, c->n_clusters + 2, c->err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&c->l2_copied, c->n_clusters + 2, c->err);
    return ret < 0 ? ret : qcbmi_check_load_reftable(c);
}

static int warn_of_repair(struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    struct check_place at = { c->img->h.snapshots_offset, "snapshot table", UINT64_MAX, UINT32_MAX };

    if (!qcbmi_check_repair_loses_snapshots(c))
        return 0;
    return qcbmi_check_problem(c, P_SNAPSHOTS_AND_BITMAPS, 1, &at,
                               "%" PRIu32 " snapshots beside %s: a repair by qemu-img would delete the snapshots",
                               c->img->h.n_snapshots,
                               list->n && !list->stale ? "bitmaps" : "features that are dropped");
}

/* Each kind once, with the cure that fits to all that was found. */
static int tell_kinds(struct check *c)
{
    c->r.keep_leaks = qcbmi_check_keeps_leaks(c);
    for (unsigned id = 0; c->o.kind && id < P_COUNT; id++) {
        char cure[1024];
        struct qcbm_check_kind kind = { qcbm_problem_get(id), c->n_told[id], cure, qcbmi_check_repair_level(c, id) };

        if (c->n_told[id] == 0)
            continue;
        qcbmi_check_cure(c, id, cure, sizeof(cure));
        if (c->o.kind(c->o.opaque, &kind))
            return qcbmi_fail_stopped(c->err);
    }
    return 0;
}

static int count_all(struct check *c)
{
    int ret = qcbmi_check_load_snapshots(c);

    if (ret == 0)
        ret = prepare(c);
    return ret < 0 ? ret : run_passes(c);
}

static int run(struct check *c)
{
    int ret = count_all(c);

    c->tally = c->tell = true;
    if (ret == 0 && c->o.lost_only)
        return qcbmi_check_tell_lost(c);
    if (ret == 0 && (c->l1_copied || qcbmi_bitset_next_set(&c->l2_copied, 0) < c->l2_copied.n_bits))
        ret = qcbmi_check_tell_copied(c);
    c->tally = c->tell = true;
    if (ret == 0)
        c->r.image_end_offset = u64_max(c->highest_end, 1) << c->g->cluster_bits;
    if (ret == 0)
        ret = warn_of_header(c);
    if (ret == 0)
        ret = qcbmi_check_bitmap_health(c);
    if (ret == 0)
        ret = qcbmi_check_tell_lost(c);
    if (ret == 0)
        ret = warn_of_repair(c);
    if (ret == 0)
        ret = qcbmi_check_name_owners(c);
    return ret < 0 ? ret : tell_kinds(c);
}

static void free_check(struct check *c)
{
    free_pass(c);
    qcbmi_holes_free(&c->holes);
    qcbmi_counts_free(&c->told);
    qcbmi_bitset_free(&c->l2_noisy);
    qcbmi_bitset_free(&c->l2_copied);
    free(c->blobs);
    free(c->l1_active);
    free(c->reftable);
    free(c->block);
    free(c->snapshots);
    free(c->snapshot_bytes);
    qcbmi_check_suspects_free(c->suspects);
    qcbmi_check_lost_free(&c->lost);
}

int qcbm_check(struct qcbm_image *img, const struct qcbm_check_options *options, struct qcbm_check_result *out,
               size_t size, struct qcbm_error *err)
{
    struct check c = { .handle = img,
                       .img = img->image,
                       .g = &img->image->g,
                       .o = QCBM_CHECK_OPTIONS_INIT,
                       .err = err,
                       .tally = true,
                       .tell = true };
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_take_options(&c.o, sizeof(c.o), options, err);
    if (ret < 0)
        return ret;
    c.o.memory = u64_max(c.o.memory, MIN_MEMORY);
    c.progress = (struct qcbmi_progress){ .to = c.o.progress };
    qcbmi_holes_init(&c.holes, &c.img->io);
    c.file_len = align_up(c.img->io.size, Q2_SECTOR);
    ret = run(&c);
    free_check(&c);
    qcbmi_give(out, size, &c.r, sizeof(c.r));
    return ret;
}
