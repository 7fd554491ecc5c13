/* manifest_read.c - a manifest, or a fixed index, that is open: checked as a whole first, then asked granule by granule
 * SPDX-License-Identifier: MIT */
#include "manifest/manifest_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/digest.h"
#include "base/error.h"
#include "io/open.h"

static bool is_magic(const uint8_t *bytes)
{
    return qcbmi_mnf_is(bytes) || qcbmi_fidx_is(bytes);
}

bool qcbmi_manifest_is(const char *path)
{
    struct qcbmi_io io = { 0 };
    uint8_t bytes[MNF_MAGIC_BYTES];
    bool is = qcbmi_open(&io, path, false, NULL) == 0 && io.size >= sizeof(bytes) &&
              qcbmi_io_read(&io, 0, bytes, sizeof(bytes), "first bytes", NULL) == 0 && is_magic(bytes);

    qcbmi_io_close(&io);
    return is;
}

/* ---- a place ---- */

void qcbmi_manifest_place_free(struct qcbmi_manifest_place *p)
{
    free(p->window);
    p->window = NULL;
    p->from = p->to = 0;
}

/* @need bytes at @off, few enough for the window. */
static int window_at(struct qcbmi_manifest_place *p, uint64_t off, uint64_t need, const uint8_t **out,
                     struct qcbm_error *err)
{
    struct qcbmi_io *io = &p->m->io;
    uint64_t n;
    int ret;

    if (!p->window) {
        p->window = qcbmi_alloc_array(QCBMI_MANIFEST_WINDOW, 1, err);
        if (!p->window)
            return QCBM_E_NOMEM;
    }
    if (off < p->from || off + need > p->to) {
        n = u64_max(u64_min(QCBMI_MANIFEST_WINDOW, io->size > off ? io->size - off : 0), need);
        p->from = p->to = 0;
        ret = qcbmi_io_read(io, off, p->window, n, "manifest", err);
        if (ret < 0)
            return ret;
        p->from = off;
        p->to = off + n;
    }
    *out = p->window + (off - p->from);
    return 0;
}

/* The record at p->next_record. */
static int read_record(struct qcbmi_manifest_place *p, struct qcbm_error *err)
{
    struct granule_record before = p->record;
    const uint8_t *bytes;
    uint64_t off = p->next_record ? p->next_record : p->m->h.length;
    int ret = window_at(p, off, GRANULE_RECORD, &bytes, err);

    if (ret == 0)
        ret = qcbmi_mnf_record_parse(bytes, p->m->granules - p->end, &before, off, &p->record, err);
    if (ret < 0)
        return ret;
    p->digests = off + GRANULE_RECORD;
    p->next_record = p->digests + (p->record.kind == MNF_DIGESTS ? p->record.granules * p->m->hasher.bytes : 0);
    p->first = p->end;
    p->end += p->record.granules;
    return 0;
}

static int index_at(struct qcbmi_manifest_place *p, uint64_t granule, const uint8_t **digest, uint64_t *n,
                    struct qcbm_error *err)
{
    const struct qcbm_manifest *m = p->m;
    const uint8_t *zero = granule == m->granules - 1 ? m->zero_tail : m->zero_digest;
    int ret = window_at(p, FIDX_HEADER + granule * FIDX_DIGEST, FIDX_DIGEST, digest, err);

    *n = 1;
    if (ret == 0 && memcmp(*digest, zero, FIDX_DIGEST) == 0)
        *digest = NULL;
    return ret;
}

int qcbmi_manifest_at(struct qcbmi_manifest_place *p, uint64_t granule, const uint8_t **digest, uint64_t *n,
                      struct qcbm_error *err)
{
    size_t bytes = p->m->hasher.bytes;
    int ret = 0;

    if (p->m->is_index)
        return index_at(p, granule, digest, n, err);
    while (ret == 0 && granule >= p->end) {
        ret = read_record(p, err);
        if (ret == 0 && p->record.kind == MNF_END)
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, p->digests - GRANULE_RECORD, "manifest: it has changed meanwhile");
    }
    if (ret < 0)
        return ret;
    *n = p->end - granule;
    *digest = NULL;
    return p->record.kind == MNF_ZEROS ? 0
                                       : window_at(p, p->digests + (granule - p->first) * bytes, bytes, digest, err);
}

/* ---- the check ---- */

static int digest_all(struct qcbm_manifest *m, struct qcbm_error *err)
{
    uint64_t end = m->io.size - MNF_DIGEST;
    struct qcbmi_digest_state state;
    uint8_t *buf = qcbmi_alloc_array(QCBMI_MANIFEST_WINDOW, 1, err), made[MNF_DIGEST], stored[MNF_DIGEST];
    int ret = buf ? qcbmi_digest_begin(&state, err) : QCBM_E_NOMEM;

    if (ret < 0) {
        free(buf);
        return ret;
    }
    for (uint64_t off = 0, n; ret == 0 && off < end; off += n) {
        n = u64_min(end - off, QCBMI_MANIFEST_WINDOW);
        ret = qcbmi_io_read(&m->io, off, buf, n, "manifest", err);
        if (ret == 0)
            qcbmi_digest_add(&state, buf, (size_t)n);
    }
    qcbmi_digest_end(&state, made);
    free(buf);
    if (ret == 0)
        ret = qcbmi_io_read(&m->io, end, stored, sizeof(stored), "digest of the manifest", err);
    if (ret == 0 && memcmp(made, stored, sizeof(made)) != 0)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, end, "manifest: its digest does not fit: it is damaged");
    return ret;
}

/* All records, up to the end of the file. What is missing at the end is told as that, and not as a wrong digest. */
static int check_records(struct qcbm_manifest *m, struct qcbm_error *err)
{
    struct qcbmi_manifest_place p = { .m = m };
    int ret = 0;

    do {
        ret = read_record(&p, err);
        if (ret == 0 && p.record.kind == MNF_ZEROS)
            m->zeros += p.record.granules;
        if (ret == 0 && !range_fits(p.next_record, MNF_DIGEST, m->io.size))
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, p.next_record, "manifest: the file has been cut");
    } while (ret == 0 && p.record.kind != MNF_END);
    if (ret == 0 && p.next_record + MNF_DIGEST != m->io.size)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, p.next_record + MNF_DIGEST, "manifest: something follows its end");
    qcbmi_manifest_place_free(&p);
    return ret < 0 ? ret : digest_all(m, err);
}

static int read_header(struct qcbm_manifest *m, struct qcbm_error *err)
{
    uint8_t bytes[MNF_MAX_HEADER];
    int ret = qcbmi_io_read(&m->io, 0, bytes, MNF_FIXED, "header of the manifest", err);

    if (ret == 0)
        ret = qcbmi_mnf_header_parse(bytes, &m->h, err);
    if (ret == 0)
        ret = qcbmi_io_read(&m->io, MNF_FIXED, bytes, m->h.length - MNF_FIXED, "header of the manifest", err);
    if (ret == 0)
        ret = qcbmi_mnf_text_check(bytes, &m->h, err);
    if (ret < 0)
        return ret;
    memcpy(m->text, bytes, m->h.text_len);
    m->granules = qcbmi_manifest_granules(m->h.size, m->h.gran_bits);
    ret = qcbmi_hasher_open(&m->hasher, m->h.kind, m->h.seed, err);
    return ret < 0 ? ret : check_records(m, err);
}

/* ---- a fixed index ---- */

struct index_reader {
    struct qcbmi_io *io;
    uint64_t at;
};

static int64_t more_digests(void *opaque, void *buf, size_t len, struct qcbm_error *err)
{
    struct index_reader *r = opaque;
    uint64_t n = u64_min(len, r->io->size - r->at);
    int ret = n ? qcbmi_io_read(r->io, r->at, buf, n, "digests of the index", err) : 0;

    r->at += n;
    return ret < 0 ? ret : (int64_t)n;
}

static int digest_zeros(struct qcbm_manifest *m, struct qcbm_error *err)
{
    uint64_t chunk = UINT64_C(1) << m->h.gran_bits, tail = m->h.size - (m->granules - 1) * chunk;
    uint8_t *zeros = qcbmi_alloc_array(chunk, 1, err);
    int ret = zeros ? qcbmi_hash(&m->hasher, zeros, (size_t)chunk, m->zero_digest, err) : QCBM_E_NOMEM;

    if (ret == 0)
        ret = qcbmi_hash(&m->hasher, zeros, (size_t)tail, m->zero_tail, err);
    free(zeros);
    return ret;
}

static int read_index(struct qcbm_manifest *m, struct qcbm_error *err)
{
    struct index_reader r = { &m->io, FIDX_HEADER };
    uint8_t bytes[FIDX_FIXED], made[QCBMI_SHA256_BYTES];
    struct fidx_header h;
    int ret = qcbmi_io_read(&m->io, 0, bytes, sizeof(bytes), "header of the index", err);

    if (ret == 0)
        ret = qcbmi_fidx_parse(bytes, m->io.size, &h, err);
    if (ret < 0)
        return ret;
    m->is_index = true;
    m->h = (struct mnf_header){ .size = h.size, .gran_bits = h.chunk_bits, .kind = QCBM_DIGEST_SHA256, .time = h.time };
    memcpy(m->h.image_id, h.uuid, sizeof(h.uuid));
    m->granules = qcbmi_manifest_granules(h.size, h.chunk_bits);
    ret = qcbmi_hasher_open(&m->hasher, QCBM_DIGEST_SHA256, 0, err);
    if (ret == 0)
        ret = qcbmi_sha256_pieces(&m->hasher.sha256, more_digests, &r, made, err);
    if (ret == 0 && memcmp(made, h.checksum, sizeof(made)) != 0)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, 32, "index: its checksum does not fit: it is damaged");
    return ret < 0 ? ret : digest_zeros(m, err);
}

/* ---- open and close ---- */

void qcbm_manifest_close(struct qcbm_manifest *m)
{
    if (!m)
        return;
    qcbmi_hasher_close(&m->hasher);
    qcbmi_io_close(&m->io);
    free(m);
}

static int read_any(struct qcbm_manifest *m, struct qcbm_error *err)
{
    uint8_t magic[MNF_MAGIC_BYTES] = { 0 };
    int ret = qcbmi_io_read(&m->io, 0, magic, u64_min(sizeof(magic), m->io.size), "first bytes", err);

    if (ret < 0)
        return ret;
    if (!is_magic(magic))
        return qcbmi_fail(err, QCBM_E_CORRUPT, 0,
                          "neither a manifest of qcbm nor a fixed index (.fidx) of Proxmox Backup Server");
    return qcbmi_mnf_is(magic) ? read_header(m, err) : read_index(m, err);
}

int qcbmi_manifest_open(struct qcbmi_io *io, struct qcbm_manifest **out, struct qcbm_error *err)
{
    struct qcbm_manifest *m = qcbmi_alloc_array(1, sizeof(*m), err);
    int ret;

    *out = NULL;
    if (!m) {
        qcbmi_io_close(io);
        return QCBM_E_NOMEM;
    }
    m->io = *io;
    *io = (struct qcbmi_io){ 0 };
    ret = read_any(m, err);
    if (ret < 0)
        qcbm_manifest_close(m);
    else
        *out = m;
    return ret;
}

int qcbm_manifest_open(const char *path, struct qcbm_manifest **out, struct qcbm_error *err)
{
    struct qcbmi_io io = { 0 };
    int ret = qcbmi_open(&io, path, false, err);

    *out = NULL;
    return ret < 0 ? ret : qcbmi_manifest_open(&io, out, err);
}

int qcbm_manifest_open_io(const struct qcbm_io_ops *ops, void *self, struct qcbm_manifest **out, struct qcbm_error *err)
{
    struct qcbmi_io io = { 0 };
    int ret = qcbmi_io_init(&io, ops, self, false, err);

    *out = NULL;
    return ret < 0 ? ret : qcbmi_manifest_open(&io, out, err);
}
