/* manifest_out.c - a manifest, written from front to back, in the one way in which its content can be written
 * SPDX-License-Identifier: MIT */
#include "manifest/manifest_out.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static int put(struct qcbmi_manifest_out *o, const void *bytes, size_t len, struct qcbm_error *err)
{
    if (o->state.xxh)
        qcbmi_digest_add(&o->state, bytes, len);
    o->n_bytes += len;
    return o->fn(o->opaque, bytes, len) ? qcbmi_fail_stopped(err) : 0;
}

static int put_record(struct qcbmi_manifest_out *o, enum mnf_kind kind, uint64_t granules, struct qcbm_error *err)
{
    uint8_t bytes[GRANULE_RECORD];

    qcbmi_granule_record_store(bytes, kind, granules);
    return put(o, bytes, sizeof(bytes), err);
}

/* What has been kept back, since more of the same could have followed. */
static int flush_run(struct qcbmi_manifest_out *o, struct qcbm_error *err)
{
    int ret = 0;

    if (o->zeros)
        ret = put_record(o, MNF_ZEROS, o->zeros, err);
    if (ret == 0 && o->digests)
        ret = put_record(o, MNF_DIGESTS, o->digests, err);
    if (ret == 0 && o->digests)
        ret = put(o, o->run, (size_t)o->digests * o->bytes, err);
    o->zeros = o->digests = 0;
    return ret;
}

int qcbmi_manifest_out_begin(struct qcbmi_manifest_out *o, const struct mnf_header *h, const char *text,
                             struct qcbm_error *err)
{
    uint8_t bytes[MNF_MAX_HEADER];
    int ret;

    o->bytes = qcbmi_mnf_digest_bytes(h->kind);
    o->run = qcbmi_alloc_array(MNF_MAX_DIGESTS, o->bytes, err);
    ret = o->run ? qcbmi_digest_begin(&o->state, err) : QCBM_E_NOMEM;
    return ret < 0 ? ret : put(o, bytes, qcbmi_mnf_header_store(bytes, h, text), err);
}

int qcbmi_manifest_out_zeros(struct qcbmi_manifest_out *o, uint64_t n, struct qcbm_error *err)
{
    int ret = o->digests ? flush_run(o, err) : 0;

    o->zeros += n;
    o->n_zeros += n;
    return ret;
}

int qcbmi_manifest_out_digest(struct qcbmi_manifest_out *o, const uint8_t *digest, struct qcbm_error *err)
{
    int ret = o->zeros || o->digests == MNF_MAX_DIGESTS ? flush_run(o, err) : 0;

    memcpy(o->run + o->digests * o->bytes, digest, o->bytes);
    o->digests++;
    o->n_digests++;
    return ret;
}

int qcbmi_manifest_out_end(struct qcbmi_manifest_out *o, struct qcbm_error *err)
{
    uint8_t digest[MNF_DIGEST];
    int ret = flush_run(o, err);

    if (ret == 0)
        ret = put_record(o, MNF_END, 0, err);
    qcbmi_digest_end(&o->state, digest);
    return ret < 0 ? ret : put(o, digest, sizeof(digest), err);
}

void qcbmi_manifest_out_free(struct qcbmi_manifest_out *o)
{
    uint8_t ignored[MNF_DIGEST];

    if (o->state.xxh)
        qcbmi_digest_end(&o->state, ignored);
    free(o->run);
    *o = (struct qcbmi_manifest_out){ 0 };
}
