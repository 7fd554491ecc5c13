/* data.c - the bytes that the guest reads, through all layers of a chain
 * SPDX-License-Identifier: MIT */
#include "image/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/q2_inflate.h"
#include "image/guest_map.h"
#include "io/open.h"

/* The compressed cluster that was read last: a guest reads one in several pieces. */
struct packed {
    struct q2_inflate z;
    uint8_t *in, *out;
    uint64_t in_capacity, out_capacity;
    size_t layer;
    uint64_t cluster; /* guest offset of what is in out; UINT64_MAX: nothing */
};

struct qcbmi_data {
    unsigned flags;
    uint64_t generation; /* of the image, when it was opened */
    struct qcbmi_chain chain;
    struct qcbmi_guest_map map;
    struct qcbmi_io *data_files; /* of each layer; zeros until it is opened */
    struct packed packed;
};

int qcbmi_data_open(struct qcbmi_image *img, unsigned flags, struct qcbmi_data **out, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = flags & QCBMI_DATA_FORCE_SHARE };
    struct qcbmi_data *d = qcbmi_alloc_array(1, sizeof(*d), err);
    int ret;

    *out = NULL;
    if (!d)
        return QCBM_E_NOMEM;
    d->flags = flags;
    d->generation = img->generation;
    d->packed.cluster = UINT64_MAX;
    options.max_layers = flags & QCBMI_DATA_LAYER ? 1 : 0;
    ret = qcbmi_chain_open(img, &options, &d->chain, err);
    if (ret == 0)
        ret = qcbmi_guest_map_init(&d->map, &d->chain, QCBMI_GUEST_STRICT, err);
    if (ret == 0) {
        d->data_files = qcbmi_alloc_array(d->chain.n, sizeof(*d->data_files), err);
        ret = d->data_files ? 0 : QCBM_E_NOMEM;
    }
    if (ret < 0)
        qcbmi_data_close(d);
    else
        *out = d;
    return ret;
}

void qcbmi_data_close(struct qcbmi_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->data_files && i < d->chain.n; i++)
        qcbmi_io_close(&d->data_files[i]);
    free(d->data_files);
    qcbmi_guest_map_free(&d->map);
    qcbmi_chain_close(&d->chain);
    q2_inflate_free(&d->packed.z);
    free(d->packed.in);
    free(d->packed.out);
    free(d);
}

bool qcbmi_data_serves(const struct qcbmi_data *d, unsigned flags)
{
    return d->flags == flags && d->generation == d->chain.layers[0].img->generation;
}

/* ---- external data files ---- */

/* The name is literal, and relative to the image. */
static int open_data_file(const struct qcbmi_layer *l, unsigned lock_flags, struct qcbmi_io *io, struct qcbm_error *err)
{
    const char *name = l->img->data_file ? l->img->data_file : "";
    char *path = qcbmi_name_beside(l->filename, name, err), text[256];
    int ret = path ? qcbmi_open(io, path, false, err) : QCBM_E_NOMEM;

    if (ret == 0)
        ret = qcbmi_lock(io, lock_flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(io, err);
    free(path);
    if (ret == 0)
        return 0;
    qcbmi_io_close(io);
    if (ret == QCBM_E_NOMEM)
        return ret;
    return qcbmi_prefix(err, ret == QCBM_E_LOCKED ? ret : QCBM_E_CHAIN,
                        "data file '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

static int need_data_file(struct qcbmi_data *d, size_t layer, struct qcbm_error *err)
{
    const struct qcbmi_layer *l = &d->chain.layers[layer];
    unsigned flags = l->img->open_flags & (QCBM_OPEN_INFO | QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);

    if (d->data_files[layer].ops)
        return 0;
    if (!(d->flags & QCBMI_DATA_FILES))
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "the data lies in an external data file, which is opened on request only");
    if (d->flags & QCBMI_DATA_FORCE_SHARE)
        flags |= QCBM_OPEN_FORCE_SHARE;
    return open_data_file(l, flags, &d->data_files[layer], err);
}

/* ---- compressed clusters ---- */

/* At least @need bytes at *@buf, of which none is kept. */
static int make_room(uint8_t **buf, uint64_t *capacity, uint64_t need, struct qcbm_error *err)
{
    if (need <= *capacity)
        return 0;
    free(*buf);
    *capacity = 0;
    *buf = qcbmi_alloc_array(need, 1, err);
    if (!*buf)
        return QCBM_E_NOMEM;
    *capacity = need;
    return 0;
}

static int fail_packed(const struct qcbmi_guest_piece *p, uint64_t cluster, int ret, struct qcbm_error *err)
{
    ret = qcbmi_prefix(err, ret, "compressed cluster of guest 0x%" PRIx64 ": ", cluster);
    if (err)
        err->offset = p->host;
    return ret;
}

/* The cluster of @p, as a whole, into packed.out. The file may end with the stream, in the middle of a sector. */
static int unpack(struct qcbmi_data *d, const struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    struct qcbmi_image *img = d->chain.layers[p->layer].img;
    uint64_t cs = img->g.cluster_size, cluster = align_down(p->start, cs);
    uint64_t len = u64_min(p->host_len, p->host < img->io.size ? img->io.size - p->host : 0);
    struct packed *k = &d->packed;
    int ret;

    if (k->cluster == cluster && k->layer == p->layer)
        return 0;
    k->cluster = UINT64_MAX;
    if (len == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, p->host,
                          "compressed cluster of guest 0x%" PRIx64 ": it lies past the end of the file", cluster);
    ret = make_room(&k->in, &k->in_capacity, len, err);
    if (ret == 0)
        ret = make_room(&k->out, &k->out_capacity, cs, err);
    if (ret == 0)
        ret = qcbmi_io_read(&img->io, p->host, k->in, len, "compressed data", err);
    if (ret < 0)
        return ret;
    ret = q2_inflate(&k->z, img->h.compression_type, k->in, (size_t)len, k->out, (size_t)cs, err);
    if (ret < 0)
        return fail_packed(p, cluster, ret, err);
    k->cluster = cluster;
    k->layer = p->layer;
    return 0;
}

static int read_packed(struct qcbmi_data *d, const struct qcbmi_guest_piece *p, uint8_t *to, struct qcbm_error *err)
{
    uint64_t in_cluster = p->start & (d->chain.layers[p->layer].img->g.cluster_size - 1);
    int ret = unpack(d, p, err);

    if (ret == 0)
        memcpy(to, d->packed.out + in_cluster, (size_t)(p->end - p->start));
    return ret;
}

/* ---- pieces ---- */

static int read_plain(struct qcbmi_data *d, const struct qcbmi_guest_piece *p, uint8_t *to, struct qcbm_error *err)
{
    struct qcbmi_layer *l = &d->chain.layers[p->layer];
    struct qcbmi_io *io = l->img ? &l->img->io : &l->raw;
    int ret = 0;

    if (l->img && l->img->g.data_file) {
        ret = need_data_file(d, p->layer, err);
        io = &d->data_files[p->layer];
    }
    if (ret < 0)
        return ret;
    return qcbmi_io_read_slack(io, p->host, to, p->end - p->start, l->img ? l->img->g.cluster_size : 0, "guest data",
                               err);
}

static int read_piece(struct qcbmi_data *d, const struct qcbmi_guest_piece *p, uint8_t *to, struct qcbm_error *err)
{
    const struct qcbmi_image *img = d->chain.layers[p->layer].img;

    if (p->kind == Q2_INVALID)
        return qcbmi_guest_map_fail(&d->map, p, err);
    if (p->kind != Q2_NORMAL && p->kind != Q2_COMPRESSED) {
        memset(to, 0, (size_t)(p->end - p->start));
        return 0;
    }
    if (img && img->h.crypt_method)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "guest 0x%" PRIx64 ": the cluster is encrypted (%s)",
                          p->start, img->h.crypt_method == 1 ? "AES" : "LUKS");
    return p->kind == Q2_COMPRESSED ? read_packed(d, p, to, err) : read_plain(d, p, to, err);
}

static int in_layer(const struct qcbmi_data *d, size_t layer, int ret, struct qcbm_error *err)
{
    const char *name = d->chain.layers[layer].filename;
    char text[256];

    if (ret == 0 || layer == 0)
        return ret;
    return qcbmi_prefix(err, ret, "layer '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

int qcbmi_data_read(struct qcbmi_data *d, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    uint8_t *to = buf;
    int ret = 0;

    while (ret == 0 && len) {
        struct qcbmi_guest_piece p;
        uint64_t n;

        ret = qcbmi_guest_map_at(&d->map, off, &p, err);
        if (ret < 0)
            return ret;
        p.end = u64_min(p.end, off + len);
        n = p.end - off;
        ret = read_piece(d, &p, to, err);
        if (ret < 0 && p.kind != Q2_INVALID)
            ret = in_layer(d, p.layer, ret, err);
        to += n;
        off += n;
        len -= n;
    }
    return ret;
}
