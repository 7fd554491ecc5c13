/* extents_write.c - extents in the forms of other programs, written
 * SPDX-License-Identifier: MIT
 */
#include "extents_write.h"
#include "text_out.h"

enum { CSI_TUPLES = 1024 /* in a message, so that readers that take one at a time need little memory */ };

static struct text_out text;

struct writer {
    struct extents_out *to;
    const struct form *form;
    bool layer;
    unsigned cluster_bits;
    uint64_t clusters; /* of the disk */
    /* Of forms that round to clusters: the run that may go on, */
    bool pending;
    uint64_t first, last;
    /* and of bits, how many are out, and those that do not yet fill a byte. */
    uint64_t bits;
    unsigned char byte;
};

struct form {
    bool dirty_only;
    bool whole; /* no pages */
    void (*begin)(struct writer *w);
    void (*put)(struct writer *w, const struct qcbm_extent *e);
    void (*end)(struct writer *w);
};

static void put_words(const char *words)
{
    text_put(&text, words, strlen(words));
}

static const char *word(bool value)
{
    return value ? "true" : "false";
}

/* ---- lists of objects ---------------------------------------------------------------------------------- */

static char *put_object(struct writer *w, const char *offset, const struct qcbm_extent *e)
{
    char *at = text_room(&text);

    at = w->to->printed ? text_literal(at, ",\n{\"") : text_literal(at, "{\"");
    at = text_u64(text_literal(text_bytes(at, offset, strlen(offset)), "\":"), e->offset);
    return text_u64(text_literal(at, ",\"length\":"), e->length);
}

static void begin_list(struct writer *w)
{
    (void)w;
    put_words("[");
}

static void end_list(struct writer *w)
{
    (void)w;
    put_words("]\n");
}

static void put_line(struct writer *w, const struct qcbm_extent *e)
{
    unsigned type = (e->dirty ? 1u : 0) | (e->zero ? 2u : 0);
    char *at = text_u64(text_literal(text_room(&text), "{\"offset\":"), e->offset);

    (void)w;
    at = text_u64(text_literal(at, ",\"length\":"), e->length);
    at = text_u64(text_literal(at, ",\"type\":"), type);
    at = text_literal(at, ",\"description\":\"");
    at = text_bytes(at, extent_descriptions[type], strlen(extent_descriptions[type]));
    text_end(&text, text_literal(at, "\"}\n"));
}

/* Of a layer there are its zeros and its holes, where it says nothing. */
static void put_ovirt(struct writer *w, const struct qcbm_extent *e)
{
    const char *first = w->layer ? word(e->zero) : word(e->dirty), *second = w->layer ? word(!e->dirty) : word(e->zero);
    char *at = put_object(w, "start", e);

    at = w->layer ? text_literal(at, ",\"zero\":") : text_literal(at, ",\"dirty\":");
    at = text_bytes(at, first, strlen(first));
    at = w->layer ? text_literal(at, ",\"hole\":") : text_literal(at, ",\"zero\":");
    text_end(&text, text_literal(text_bytes(at, second, strlen(second)), "}"));
}

/* Strings, not the words of JSON. */
static void put_rbd(struct writer *w, const struct qcbm_extent *e)
{
    char *at = put_object(w, "offset", e);

    at = e->zero ? text_literal(at, ",\"exists\":\"false\"}") : text_literal(at, ",\"exists\":\"true\"}");
    text_end(&text, at);
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static void begin_message(struct writer *w)
{
    char *at = text_literal(text_room(&text), "{\"block_metadata_type\":2,\"volume_capacity_bytes\":");

    text_end(&text, text_literal(text_u64(at, w->to->size), ",\"block_metadata\":["));
}

static void begin_messages(struct writer *w)
{
    put_words("[");
    begin_message(w);
}

/* @between two messages. */
static void put_tuple(struct writer *w, const struct qcbm_extent *e, const char *between)
{
    bool first = w->to->printed % CSI_TUPLES == 0;
    char *at;

    if (first && w->to->printed) {
        put_words(between);
        begin_message(w);
    }
    at = text_room(&text);
    at = first ? text_literal(at, "{\"byte_offset\":") : text_literal(at, ",{\"byte_offset\":");
    at = text_u64(text_literal(text_u64(at, e->offset), ",\"size_bytes\":"), e->length);
    text_end(&text, text_literal(at, "}"));
}

static void put_csi(struct writer *w, const struct qcbm_extent *e)
{
    put_tuple(w, e, "]},\n");
}

static void end_messages(struct writer *w)
{
    (void)w;
    put_words("]}]\n");
}

static void put_csi_line(struct writer *w, const struct qcbm_extent *e)
{
    put_tuple(w, e, "]}\n");
}

static void end_message_line(struct writer *w)
{
    (void)w;
    put_words("]}\n");
}

/* ---- clusters ------------------------------------------------------------------------------------------ */

/* So many bits alike. */
static void put_bits(struct writer *w, uint64_t n, bool ones)
{
    for (; n > 0; n--, w->bits++) {
        for (; w->bits % 8 == 0 && n >= 8; n -= 8, w->bits += 8) {
            char *at = text_room(&text);

            *at++ = (char)(ones ? 0xff : 0);
            text_end(&text, at);
        }
        if (n == 0)
            return;
        w->byte |= (unsigned char)(ones << w->bits % 8);
        if (w->bits % 8 == 7) {
            text_put(&text, (const char *)&w->byte, 1);
            w->byte = 0;
        }
    }
}

static void put_run_bits(struct writer *w)
{
    put_bits(w, w->first - w->bits, false);
    put_bits(w, w->last + 1 - w->first, true);
}

static void put_run_json(struct writer *w)
{
    char *at = text_room(&text);

    at = w->bits++ ? text_literal(at, ",[") : text_literal(at, "[");
    at = text_u64(at, w->first);
    text_end(&text, text_literal(text_u64(text_literal(at, ","), w->last), "]"));
}

/* The clusters of the extent, joined to the run if they touch it; else that is out by @put. */
static void add_run(struct writer *w, const struct qcbm_extent *e, void (*put)(struct writer *w))
{
    uint64_t first = e->offset >> w->cluster_bits, last = (e->offset + e->length - 1) >> w->cluster_bits;

    if (w->pending && first > w->last + 1) {
        put(w);
        w->pending = false;
    }
    w->first = w->pending ? w->first : first;
    w->last = last;
    w->pending = true;
}

static void put_xen_bits(struct writer *w, const struct qcbm_extent *e)
{
    add_run(w, e, put_run_bits);
}

static void end_xen_bits(struct writer *w)
{
    if (w->pending)
        put_run_bits(w);
    put_bits(w, (w->clusters + 7) / 8 * 8 - w->bits, false);
}

static void begin_xen_json(struct writer *w)
{
    char *at = text_u64(text_literal(text_room(&text), "{\"virtual_size\":"), w->to->size);

    at = text_u64(text_literal(at, ",\"cluster_bits\":"), w->cluster_bits);
    text_end(&text, text_literal(at, ",\"data_clusters\":["));
}

static void put_xen_json(struct writer *w, const struct qcbm_extent *e)
{
    add_run(w, e, put_run_json);
}

static void end_xen_json(struct writer *w)
{
    if (w->pending)
        put_run_json(w);
    put_words("]}\n");
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static const struct form forms[N_EXTENTS_FORMS] = {
    [EXTENTS_JSONL] = { .put = put_line },
    [EXTENTS_OVIRT] = { .begin = begin_list, .put = put_ovirt, .end = end_list },
    [EXTENTS_RBD] = { .dirty_only = true, .begin = begin_list, .put = put_rbd, .end = end_list },
    [EXTENTS_CSI] = { .dirty_only = true, .begin = begin_messages, .put = put_csi, .end = end_messages },
    [EXTENTS_CSI_LINES] = { .dirty_only = true, .begin = begin_message, .put = put_csi_line, .end = end_message_line },
    [EXTENTS_XEN_BITS] = { .dirty_only = true, .whole = true, .put = put_xen_bits, .end = end_xen_bits },
    [EXTENTS_XEN_JSON] = { .dirty_only = true,
                           .whole = true,
                           .begin = begin_xen_json,
                           .put = put_xen_json,
                           .end = end_xen_json },
};

bool extents_form_has_pages(enum extents_form form)
{
    return !forms[form].whole;
}

static int write_one(void *opaque, const struct qcbm_extent *e)
{
    struct writer *w = opaque;

    progress_show(&w->to->progress, e->offset + e->length, w->to->size);
    if (w->form->dirty_only && !e->dirty)
        return 0;
    w->form->put(w, e);
    w->to->printed++;
    return text.lost || w->to->printed == w->to->limit;
}

int extents_write(struct extents_out *to, enum extents_form form, bool layer, struct qcbm_image *img,
                  struct qcbm_extents *from, struct qcbm_error *err)
{
    struct writer w = { .to = to, .form = &forms[form], .layer = layer };
    struct qcbm_image_info info;
    int ret;

    qcbm_image_get_info(img, &info, sizeof info);
    w.cluster_bits = (unsigned)__builtin_ctz(info.cluster_size);
    to->size = qcbm_extents_size(from);
    w.clusters = (to->size >> w.cluster_bits) + ((to->size & (info.cluster_size - 1)) > 0);
    text_begin(&text, to->out);
    if (w.form->begin)
        w.form->begin(&w);
    ret = extents_each(from, to->offset, write_one, &w, err);
    if (ret == 0 && w.form->end)
        w.form->end(&w);
    progress_end(&to->progress, ret == 0);
    if ((ret == 0 && text_flush(&text)) || text.lost)
        ret = QCBM_E_ABORTED;
    to->lost = text.lost;
    return ret;
}
