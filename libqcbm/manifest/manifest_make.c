/* manifest_make.c - a manifest of a disk, made anew or from an older one of which only a part has changed
 * SPDX-License-Identifier: MIT
 *
 * Both are one pass: granules come in the order of the disk, those that were read and those that the old one knows, and
 * go out in it. So a manifest that was brought up to date is, but for seed and claim, the file that a new one is. */
#include "manifest/manifest_make.h"

#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "manifest/disk_digests.h"
#include "manifest/manifest_out.h"

struct making {
    struct qcbmi_hasher hasher;
    struct qcbmi_manifest_out out;
    struct qcbmi_manifest_place old; /* .m NULL: there is none */
    uint64_t at, old_end;            /* granules that went out; that the old one has, and which count */
    unsigned gran_bits;
};

uint64_t qcbmi_manifest_disk_size(const struct qcbmi_chain *disk)
{
    return align_down(disk->layers[0].size, Q2_SECTOR);
}

unsigned qcbmi_manifest_threads(const struct qcbmi_chain *disk, unsigned wanted)
{
    const struct qcbmi_image *img = disk->layers[0].img;

    if (img && img->io.trace && img->io.trace->fn)
        return 1;
    return wanted || !img ? wanted : img->threads;
}

/* ---- granules, in order ---- */

/* Up to @end, from the old manifest. */
static int copy_old(struct making *m, uint64_t end, struct qcbm_error *err)
{
    const uint8_t *digest;
    uint64_t n;
    int ret = 0;

    while (ret == 0 && m->at < end) {
        ret = qcbmi_manifest_at(&m->old, m->at, &digest, &n, err);
        n = ret < 0 ? 0 : digest ? 1 : u64_min(n, end - m->at);
        if (n)
            ret = digest ? qcbmi_manifest_out_digest(&m->out, digest, err) : qcbmi_manifest_out_zeros(&m->out, n, err);
        m->at += n;
    }
    return ret;
}

static int fail_unreadable(const struct making *m, const struct qcbmi_digests *d, uint64_t granule,
                           struct qcbm_error *err)
{
    if (err)
        *err = *d->why;
    return qcbmi_prefix(err, d->why->code, "guest 0x%" PRIx64 " + %" PRIu64 ": ", granule << m->gran_bits,
                        UINT64_C(1) << m->gran_bits);
}

static int put_granules(void *opaque, const struct qcbmi_digests *d, struct qcbm_error *err)
{
    struct making *m = opaque;
    size_t bytes = m->out.bytes;
    int ret = m->old.m ? copy_old(m, d->first, err) : 0;

    m->at = d->first + d->n;
    if (ret < 0)
        return ret;
    if (!d->kinds && d->all == QCBMI_GRANULE_ZEROS)
        return qcbmi_manifest_out_zeros(&m->out, d->n, err);
    for (uint64_t i = 0; ret == 0 && i < d->n; i++) {
        unsigned kind = d->kinds ? d->kinds[i] : d->all;

        if (kind == QCBMI_GRANULE_UNREADABLE)
            ret = fail_unreadable(m, d, d->first + i, err);
        else
            ret = kind == QCBMI_GRANULE_ZEROS ? qcbmi_manifest_out_zeros(&m->out, 1, err)
                                              : qcbmi_manifest_out_digest(&m->out, d->digests + i * bytes, err);
    }
    return ret;
}

/* ---- what it is to be ---- */

static int choose(const struct qcbm_manifest_options *o, const struct qcbm_manifest *old, struct mnf_header *h,
                  struct qcbm_error *err)
{
    uint64_t gran = o->granularity ? o->granularity : UINT64_C(65536);

    if (old) {
        h->gran_bits = old->h.gran_bits;
        h->kind = old->h.kind;
        h->seed = old->h.seed;
        return 0;
    }
    if ((gran & (gran - 1)) || gran >> MNF_MIN_GRANULARITY_BITS == 0 || gran >> MNF_MAX_GRANULARITY_BITS > 1)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "granularity %" PRIu64 ", allowed: powers of 2 from 512 to 4 MiB", gran);
    h->gran_bits = (uint32_t)__builtin_ctzll(gran);
    h->kind = o->digest ? o->digest : QCBM_DIGEST_XXH3;
    if (h->kind != QCBM_DIGEST_XXH3 && o->has_seed)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a seed goes with XXH3 alone");
    h->seed = o->has_seed ? o->seed : 0;
    return o->has_seed || h->kind != QCBM_DIGEST_XXH3
               ? 0
               : qcbmi_random(&h->seed, sizeof(h->seed), err); /* what a guest does not know */
}

static int check_old(const struct qcbm_manifest_options *o, const struct qcbm_manifest *old, struct qcbm_error *err)
{
    if (old->is_index)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "an index of Proxmox Backup Server is not brought up to date");
    if (o->digest && o->digest != old->h.kind)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the manifest has digests of another kind, which only reading all of the disk can replace");
    if (o->granularity && o->granularity != UINT64_C(1) << old->h.gran_bits)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the manifest has granules of %" PRIu64 " bytes",
                          UINT64_C(1) << old->h.gran_bits);
    if (o->has_seed && o->seed != old->h.seed)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the manifest has another seed");
    return 0;
}

static int claim(const struct qcbm_manifest_options *o, struct mnf_header *h, struct qcbm_error *err)
{
    size_t len = o->text ? strlen(o->text) : 0;

    if (len > MNF_MAX_TEXT)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a text of %zu bytes, allowed: up to %u", len, MNF_MAX_TEXT);
    if (o->time < 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a time before 1970");
    h->text_len = (uint32_t)len;
    h->time = o->time;
    memcpy(h->image_id, o->image_id, sizeof(h->image_id));
    return 0;
}

/* ---- all of it ---- */

static int run(struct making *m, const struct qcbmi_chain *disk, const struct mnf_header *h,
               const struct qcbm_manifest_options *o, const struct qcbmi_dirtymap *changed, struct qcbm_error *err)
{
    struct qcbmi_progress progress = { .to = o->progress };
    struct qcbmi_disk_digests job = { .size = h->size,
                                      .gran_bits = h->gran_bits,
                                      .hasher = &m->hasher,
                                      .only = changed,
                                      .all_from = UINT64_MAX,
                                      .progress = &progress,
                                      .fn = put_granules,
                                      .opaque = m };
    int ret;

    if (m->old.m && m->old.m->h.size != h->size) /* the granule at the end is another one */
        job.all_from = align_down(u64_min(m->old.m->h.size, h->size), UINT64_C(1) << h->gran_bits);
    job.threads = qcbmi_manifest_threads(disk, o->threads);
    ret = qcbmi_data_of_chain(disk, 0, QCBMI_DATA_FILES | QCBMI_DATA_HOLES, &job.disk, err);
    progress.total = qcbmi_disk_digests_cost(&job);
    if (ret == 0)
        ret = qcbmi_disk_digests(&job, err);
    if (ret == 0 && m->old.m)
        ret = copy_old(m, qcbmi_manifest_granules(h->size, h->gran_bits), err);
    qcbmi_data_close(job.disk);
    return ret;
}

static void tell(const struct making *m, const struct mnf_header *h, struct qcbm_manifest_info *info)
{
    *info = (struct qcbm_manifest_info){ .format = "qcbm",
                                         .size = h->size,
                                         .granularity = UINT64_C(1) << h->gran_bits,
                                         .digest = h->kind,
                                         .granules = m->out.n_zeros + m->out.n_digests,
                                         .zero_granules = m->out.n_zeros,
                                         .time = h->time,
                                         .file_size = m->out.n_bytes };
    memcpy(info->image_id, h->image_id, sizeof(info->image_id));
}

int qcbmi_manifest_make(const struct qcbmi_chain *disk, const struct qcbm_manifest_options *options,
                        struct qcbm_manifest *old, const struct qcbmi_dirtymap *changed, qcbm_write_fn *fn,
                        void *opaque, struct qcbm_manifest_info *info, struct qcbm_error *err)
{
    struct mnf_header h = { .size = qcbmi_manifest_disk_size(disk) };
    struct making m = { .out = { .fn = fn, .opaque = opaque }, .old = { .m = old } };
    int ret = old ? check_old(options, old, err) : 0;

    if (ret == 0 && h.size == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a disk without a sector has no manifest");
    if (ret == 0)
        ret = choose(options, old, &h, err);
    if (ret == 0)
        ret = claim(options, &h, err);
    if (ret == 0)
        ret = qcbmi_chain_check_plain(disk, err);
    if (ret == 0)
        ret = qcbmi_chain_check_finished(disk, err);
    if (ret == 0)
        ret = qcbmi_hasher_open(&m.hasher, h.kind, h.seed, err);
    m.gran_bits = h.gran_bits;
    if (ret == 0)
        ret = qcbmi_manifest_out_begin(&m.out, &h, options->text, err);
    if (ret == 0)
        ret = run(&m, disk, &h, options, changed, err);
    if (ret == 0)
        ret = qcbmi_manifest_out_end(&m.out, err);
    if (ret == 0)
        tell(&m, &h, info);
    qcbmi_manifest_place_free(&m.old);
    qcbmi_manifest_out_free(&m.out);
    qcbmi_hasher_close(&m.hasher);
    return ret;
}
