/* data.c - the bytes that the guest reads, through all layers of a chain
 * SPDX-License-Identifier: MIT */
#include "image/data.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/open.h"

struct qcbmi_data {
    unsigned flags;
    uint64_t generation;       /* of the image, when it was opened */
    struct qcbmi_chain own;    /* zeros where the chain is the caller's */
    struct qcbmi_chain layers; /* a view of it: nothing here is freed */
    struct qcbmi_guest_map map;
    struct qcbmi_io *data_files; /* of each layer; zeros until it is opened */
    struct qcbmi_holes *holes;   /* of each of these files; NULL: nobody asks */
    bool lent;                   /* the first of them is somebody else's */
    struct qcbmi_unpacked unpacked;
};

static int begin(struct qcbmi_data *d, const struct qcbmi_chain *chain, size_t layer, struct qcbm_error *err)
{
    d->layers = (struct qcbmi_chain){ .layers = chain->layers + layer, .n = chain->n - layer };
    d->data_files = qcbmi_alloc_array(d->layers.n, sizeof(*d->data_files), err);
    if (d->data_files && (d->flags & QCBMI_DATA_HOLES)) {
        d->holes = qcbmi_alloc_array(d->layers.n, sizeof(*d->holes), err);
        if (!d->holes)
            return QCBM_E_NOMEM;
    }
    return d->data_files ? qcbmi_guest_map_init(&d->map, &d->layers, QCBMI_GUEST_STRICT, err) : QCBM_E_NOMEM;
}

static int give(struct qcbmi_data *d, int ret, struct qcbmi_data **out)
{
    if (ret < 0)
        qcbmi_data_close(d);
    else
        *out = d;
    return ret;
}

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
    options.max_layers = flags & QCBMI_DATA_LAYER ? 1 : 0;
    ret = qcbmi_chain_open(img, &options, &d->own, err);
    return give(d, ret < 0 ? ret : begin(d, &d->own, 0, err), out);
}

int qcbmi_data_of_chain(const struct qcbmi_chain *chain, size_t layer, unsigned flags, struct qcbmi_data **out,
                        struct qcbm_error *err)
{
    struct qcbmi_data *d = qcbmi_alloc_array(1, sizeof(*d), err);

    *out = NULL;
    if (!d)
        return QCBM_E_NOMEM;
    d->flags = flags;
    return give(d, begin(d, chain, layer, err), out);
}

void qcbmi_data_lend_file(struct qcbmi_data *d, const struct qcbmi_io *file)
{
    d->data_files[0] = *file;
    d->lent = true;
}

void qcbmi_data_close(struct qcbmi_data *d)
{
    if (!d)
        return;
    if (d->lent)
        d->data_files[0] = (struct qcbmi_io){ 0 };
    for (size_t i = 0; d->data_files && i < d->layers.n; i++)
        qcbmi_io_close(&d->data_files[i]);
    for (size_t i = 0; d->holes && i < d->layers.n; i++)
        qcbmi_holes_free(&d->holes[i]);
    free(d->holes);
    free(d->data_files);
    qcbmi_guest_map_free(&d->map);
    qcbmi_chain_close(&d->own);
    qcbmi_unpacked_free(&d->unpacked);
    free(d);
}

uint64_t qcbmi_data_largest_cluster(const struct qcbmi_data *d)
{
    uint64_t largest = 0;

    for (size_t i = 0; d && i < d->layers.n; i++)
        if (d->layers.layers[i].img)
            largest = u64_max(largest, d->layers.layers[i].img->g.cluster_size);
    return largest;
}

bool qcbmi_data_serves(const struct qcbmi_data *d, unsigned flags)
{
    return d->flags == flags && d->generation == d->layers.layers[0].img->generation;
}

/* ---- external data files ---- */

/* The name is literal, and a relative one starts in the working directory, as QEMU has it. */
static int open_data_file(const struct qcbmi_layer *l, unsigned lock_flags, struct qcbmi_io *io, struct qcbm_error *err)
{
    const char *name = l->img->data_file ? l->img->data_file : "";
    char text[256];
    int ret;

    *io = (struct qcbmi_io){ 0 };
    ret = qcbmi_io_is_remote(&l->img->io) ? qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                                                       "a name of the server's machine: no file is opened here for it")
                                          : qcbmi_open(io, name, false, err);

    if (ret == 0)
        ret = qcbmi_lock(io, lock_flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(io, err);
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
    const struct qcbmi_layer *l = &d->layers.layers[layer];
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

void qcbmi_unpacked_free(struct qcbmi_unpacked *u)
{
    q2_inflate_free(&u->z);
    free(u->in);
    free(u->out);
    *u = (struct qcbmi_unpacked){ 0 };
}

/* The cluster of @p, as a whole, into u->out. The file may end with the stream, in the middle of a sector. */
static int unpack(const struct qcbmi_data *d, const struct qcbmi_guest_piece *p, struct qcbmi_unpacked *u,
                  struct qcbm_error *err)
{
    struct qcbmi_image *img = d->layers.layers[p->layer].img;
    uint64_t cs = img->g.cluster_size, cluster = align_down(p->start, cs);
    uint64_t len = u64_min(p->host_len, p->host < img->io.size ? img->io.size - p->host : 0);
    int ret;

    if (u->full && u->cluster == cluster && u->layer == p->layer)
        return 0;
    u->full = false;
    if (len == 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, p->host,
                          "compressed cluster of guest 0x%" PRIx64 ": it lies past the end of the file", cluster);
    ret = make_room(&u->in, &u->in_capacity, len, err);
    if (ret == 0)
        ret = make_room(&u->out, &u->out_capacity, cs, err);
    if (ret == 0)
        ret = qcbmi_io_read(&img->io, p->host, u->in, len, "compressed data", err);
    if (ret < 0)
        return ret;
    ret = q2_inflate(&u->z, img->h.compression_type, u->in, (size_t)len, u->out, (size_t)cs, err);
    if (ret < 0)
        return fail_packed(p, cluster, ret, err);
    u->full = true;
    u->cluster = cluster;
    u->layer = p->layer;
    return 0;
}

static int read_packed(const struct qcbmi_data *d, const struct qcbmi_guest_piece *p, uint8_t *to,
                       struct qcbmi_unpacked *u, struct qcbm_error *err)
{
    uint64_t in_cluster = p->start & (d->layers.layers[p->layer].img->g.cluster_size - 1);
    int ret = unpack(d, p, u, err);

    if (ret == 0)
        memcpy(to, u->out + in_cluster, (size_t)(p->end - p->start));
    return ret;
}

/* ---- pieces ---- */

static int in_layer(const struct qcbmi_data *d, size_t layer, int ret, struct qcbm_error *err)
{
    const char *name = d->layers.layers[layer].filename;
    char text[256];

    if (ret == 0 || layer == 0)
        return ret;
    return qcbmi_prefix(err, ret, "layer '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

static bool has_bytes(const struct qcbmi_guest_piece *p)
{
    return p->kind == Q2_NORMAL || p->kind == Q2_COMPRESSED;
}

/* What keeps the bytes of @p from being read, whatever they are. */
static int check_piece(struct qcbmi_data *d, const struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    const struct qcbmi_image *img = d->layers.layers[p->layer].img;

    if (!has_bytes(p) || !img)
        return 0;
    if (img->h.crypt_method)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "guest 0x%" PRIx64 ": the cluster is encrypted (%s)",
                          p->start, img->h.crypt_method == 1 ? "AES" : "LUKS");
    return img->g.data_file && p->kind == Q2_NORMAL ? need_data_file(d, p->layer, err) : 0;
}

/* A raw data file is in the order of the disk, and where it is sparse nothing but its holes says so. What lies behind
 * its end is missing, and no hole. */
static int look_for_hole(struct qcbmi_data *d, struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    const struct qcbmi_image *img = d->layers.layers[p->layer].img;
    struct qcbmi_io *io = &d->data_files[p->layer];
    bool is_data;
    uint64_t end;
    int ret;

    if (!d->holes || p->kind != Q2_NORMAL || !img || !img->g.raw_data_file || p->host >= io->size)
        return 0;
    if (!d->holes[p->layer].io)
        qcbmi_holes_init(&d->holes[p->layer], io);
    ret = qcbmi_holes_at(&d->holes[p->layer], p->host, &is_data, &end, err);
    if (ret < 0)
        return ret;
    if (!is_data)
        p->kind = Q2_ZERO_ALLOC;
    p->end = u64_min(p->end, p->start + (u64_min(end, io->size) - p->host));
    return 0;
}

int qcbmi_data_find(struct qcbmi_data *d, uint64_t off, uint64_t end, struct qcbmi_guest_piece *p,
                    struct qcbm_error *err)
{
    int ret = qcbmi_guest_map_at(&d->map, off, p, err);

    if (ret < 0) {
        p->end = off;
        return ret;
    }
    p->end = u64_min(p->end, end);
    if (p->kind == Q2_INVALID)
        return qcbmi_guest_map_fail(&d->map, p, err);
    ret = check_piece(d, p, err);
    if (ret == 0)
        ret = look_for_hole(d, p, err);
    return in_layer(d, p->layer, ret, err);
}

static int read_plain(const struct qcbmi_data *d, const struct qcbmi_guest_piece *p, uint8_t *to,
                      struct qcbm_error *err)
{
    struct qcbmi_layer *l = &d->layers.layers[p->layer];
    struct qcbmi_io *io = !l->img ? &l->raw : l->img->g.data_file ? &d->data_files[p->layer] : &l->img->io;

    return qcbmi_io_read_slack(io, p->host, to, p->end - p->start, l->img ? l->img->g.cluster_size : 0, "guest data",
                               err);
}

int qcbmi_data_fetch(const struct qcbmi_data *d, const struct qcbmi_guest_piece *p, void *buf, struct qcbmi_unpacked *u,
                     struct qcbm_error *err)
{
    if (!has_bytes(p)) {
        memset(buf, 0, (size_t)(p->end - p->start));
        return 0;
    }
    return in_layer(d, p->layer, p->kind == Q2_COMPRESSED ? read_packed(d, p, buf, u, err) : read_plain(d, p, buf, err),
                    err);
}

int qcbmi_data_read(struct qcbmi_data *d, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    uint8_t *to = buf;
    int ret = 0;

    while (ret == 0 && len) {
        struct qcbmi_guest_piece p;
        uint64_t n;

        ret = qcbmi_data_find(d, off, off + len, &p, err);
        if (ret < 0)
            return ret;
        ret = qcbmi_data_fetch(d, &p, to, &d->unpacked, err);
        n = p.end - off;
        to += n;
        off += n;
        len -= n;
    }
    return ret;
}
