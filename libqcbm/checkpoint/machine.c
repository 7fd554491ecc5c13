/* machine.c - all layers of all disks of a machine, open for one change of their bitmaps
 * SPDX-License-Identifier: MIT */
#include "checkpoint/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_mend.h"
#include "io/journal_link.h"
#include "io/open.h"

#define NO_IMAGE SIZE_MAX

int qcbmi_machine_blame(const struct qcbmi_machine_disk *disk, size_t at, int ret, struct qcbm_error *err)
{
    char target[64], path[200];
    const char *name = at < disk->c.n ? disk->c.layers[at].filename : disk->path;

    return ret == 0
               ? 0
               : qcbmi_prefix(err, ret,
                              "%s ('%s'): ", qcbmi_printable(target, sizeof target, disk->target, strlen(disk->target)),
                              qcbmi_printable(path, sizeof path, name, strlen(name)));
}

/* ---- a look at what there is ---- */

static size_t find_image(const struct qcbmi_machine *m, const struct qcbmi_file_id *id)
{
    for (size_t i = 0; i < m->n_images; i++)
        if (qcbmi_same_file(&m->images[i].id, id))
            return i;
    return NO_IMAGE;
}

static int note_image(struct qcbmi_machine *m, const struct qcbmi_layer *l, size_t disk, size_t depth, size_t *index,
                      struct qcbm_error *err)
{
    struct qcbmi_machine_image image = { .id = l->id, .disk = disk, .depth = depth };

    *index = find_image(m, &l->id);
    if (*index != NO_IMAGE)
        return 0;
    if (qcbmi_grow_array(&m->images, &m->capacity, m->n_images, sizeof(image), err) < 0)
        return QCBM_E_NOMEM;
    image.path = qcbmi_memdup_nul(l->filename, strlen(l->filename), err);
    if (!image.path)
        return QCBM_E_NOMEM;
    *index = m->n_images;
    m->images[m->n_images++] = image;
    return 0;
}

static int note_layer(struct qcbmi_machine *m, size_t disk, const struct qcbmi_disk_chain *c, size_t at,
                      struct qcbm_error *err)
{
    struct qcbmi_machine_disk *d = &m->disks[disk];
    const struct qcbmi_layer *l = &c->chain.layers[at];

    d->c.layers[at].size = c->layers[at].size;
    d->c.n++;
    if (l->img)
        return note_image(m, l, disk, at, &d->images[at], err);
    d->images[at] = NO_IMAGE;
    d->raw[at] = qcbmi_memdup_nul(l->filename, strlen(l->filename), err);
    d->c.layers[at].filename = d->raw[at];
    return d->raw[at] ? 0 : QCBM_E_NOMEM;
}

static int look_at_chain(struct qcbmi_machine *m, size_t disk, const struct qcbmi_disk_chain *c,
                         qcbmi_changes_fn *changes, void *opaque, struct qcbm_error *err)
{
    struct qcbmi_machine_disk *d = &m->disks[disk];
    int ret = 0;

    d->c.layers = qcbmi_alloc_array(c->n, sizeof(d->c.layers[0]), err);
    d->images = qcbmi_alloc_array(c->n, sizeof(d->images[0]), err);
    d->raw = qcbmi_alloc_array(c->n, sizeof(d->raw[0]), err);
    if (!d->c.layers || !d->images || !d->raw)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < c->n; i++) {
        ret = note_layer(m, disk, c, i, err);
        if (ret == 0 && d->images[i] != NO_IMAGE)
            m->images[d->images[i]].changes |= changes(opaque, c, i);
    }
    return ret;
}

static int look(struct qcbmi_machine *m, const struct qcbmi_disks *disks, qcbmi_changes_fn *changes, void *opaque,
                struct qcbm_error *err)
{
    int ret = 0;

    m->disks = qcbmi_alloc_array(disks->n, sizeof(m->disks[0]), err);
    if (!m->disks)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < disks->n; i++) {
        struct qcbmi_disk_chain c;

        m->disks[m->n_disks++] =
            (struct qcbmi_machine_disk){ .target = disks->list[i].target, .path = disks->list[i].path };
        ret = qcbmi_disk_chain_open(&c, disks->list[i].img, err);
        if (ret == 0)
            ret = look_at_chain(m, i, &c, changes, opaque, err);
        ret = qcbmi_disk_blame(&disks->list[i], ret, err);
        qcbmi_disk_chain_close(&c);
    }
    return ret;
}

/* ---- open ---- */

static int open_image(struct qcbmi_machine_image *image, const struct qcbmi_file_place *place, unsigned flags,
                      struct qcbm_error *err)
{
    bool writes = flags & QCBM_OPEN_WRITE;
    int ret;

    if (!image->changes)
        flags &= ~(unsigned)QCBM_OPEN_WRITE;
    ret = qcbmi_file_place_open(place, image->path, flags, &image->img, err);
    if (ret == 0 && writes && !image->changes) /* the open change may give the layer other bitmaps yet */
        ret = qcbmi_journal_link_check(image->path, err);
    return ret < 0 ? ret : qcbmi_bitmap_find_shared_data(image->img, err);
}

static int open_images(struct qcbmi_machine *m, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_file_place *places = qcbmi_alloc_array(m->n_images, sizeof(*places), err);
    int ret = places ? 0 : QCBM_E_NOMEM;

    for (size_t i = 0; ret == 0 && i < m->n_images; i++)
        places[i] = (struct qcbmi_file_place){ m->images[i].id.dev, m->images[i].id.ino, i };
    if (ret == 0)
        qcbmi_file_places_sort(places, m->n_images);
    for (size_t i = 0; ret == 0 && i < m->n_images; i++) {
        struct qcbmi_machine_image *image = &m->images[places[i].index];

        ret = open_image(image, &places[i], flags, err);
        ret = qcbmi_machine_blame(&m->disks[image->disk], image->depth, ret, err);
    }
    free(places);
    return ret;
}

/* Each layer must still have the next one below it, by identity, now that all are locked. */
static int check_links(struct qcbmi_machine_disk *d, struct qcbmi_machine *m, struct qcbm_error *err)
{
    for (size_t i = 0; i < d->c.n; i++) {
        const struct qcbmi_image *img = d->c.layers[i].img ? d->c.layers[i].img->image : NULL;
        const char *below = img ? img->full_backing : NULL;
        bool last = i + 1 == d->c.n;
        struct qcbmi_file_id id;
        bool same = last == !below;

        if (same && img && align_down(img->g.size, Q2_SECTOR) != d->c.layers[i].size)
            same = false;
        if (same && below && d->images[i + 1] != NO_IMAGE)
            same = qcbmi_name_local(below) && qcbmi_identify(qcbmi_name_local(below), &id, NULL) == 0 &&
                   qcbmi_same_file(&id, &m->images[d->images[i + 1]].id);
        if (!same)
            return qcbmi_machine_blame(d, i,
                                       qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                                                  "the chain has changed while it was opened; repeat the command"),
                                       err);
    }
    return 0;
}

static int make_chains(struct qcbmi_machine *m, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < m->n_disks; i++) {
        struct qcbmi_machine_disk *d = &m->disks[i];

        for (size_t k = 0; k < d->c.n; k++)
            if (d->images[k] != NO_IMAGE)
                d->c.layers[k].img = m->images[d->images[k]].img;
        ret = check_links(d, m, err);
    }
    return ret;
}

static void name_layers(struct qcbmi_machine *m)
{
    for (size_t i = 0; i < m->n_disks; i++)
        for (size_t k = 0; k < m->disks[i].c.n; k++)
            if (m->disks[i].images[k] != NO_IMAGE)
                m->disks[i].c.layers[k].filename = m->images[m->disks[i].images[k]].path;
}

int qcbmi_machine_open(struct qcbmi_machine *m, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                       unsigned flags, qcbmi_changes_fn *changes, void *opaque, struct qcbm_error *err)
{
    struct qcbmi_disks disks = { 0 };
    int ret;

    *m = (struct qcbmi_machine){ 0 };
    ret = qcbmi_disks_open(&disks, named, elem_size, n, (flags & ~(unsigned)QCBM_OPEN_WRITE) | QCBMI_OPEN_LOOKS, err);
    if (ret == 0)
        ret = look(m, &disks, changes, opaque, err);
    qcbmi_disks_close(&disks);
    if (ret < 0)
        return ret;
    name_layers(m);
    ret = open_images(m, flags, err);
    return ret < 0 ? ret : make_chains(m, err);
}

void qcbmi_machine_close(struct qcbmi_machine *m)
{
    for (size_t i = 0; i < m->n_images; i++) {
        qcbm_edit_free(m->images[i].edit);
        qcbmi_handle_close(m->images[i].img);
        free(m->images[i].path);
    }
    for (size_t i = 0; i < m->n_disks; i++) {
        struct qcbmi_machine_disk *d = &m->disks[i];

        for (size_t k = 0; d->raw && k < d->c.n; k++)
            free(d->raw[k]);
        free(d->raw);
        free(d->images);
        free(d->c.layers);
    }
    free(m->disks);
    free(m->images);
    *m = (struct qcbmi_machine){ 0 };
}

/* ---- edits ---- */

uint64_t qcbmi_machine_layers(const struct qcbmi_machine *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_disks; i++)
        n += m->disks[i].c.n;
    return n;
}

struct qcbm_edit *qcbmi_machine_edit_of(const struct qcbmi_machine *m, const struct qcbmi_machine_disk *disk, size_t at)
{
    return disk->images[at] == NO_IMAGE ? NULL : m->images[disk->images[at]].edit;
}

int qcbmi_machine_edit(struct qcbmi_machine *m, const struct qcbmi_machine_disk *disk, size_t at,
                       struct qcbm_edit **out, struct qcbm_error *err)
{
    struct qcbmi_machine_image *image = &m->images[disk->images[at]];
    int ret = 0;

    if (!image->changes)
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                         "its bitmaps have changed while the chain was opened; repeat the command");
    else if (!image->edit)
        ret = qcbmi_edit_begin_keeping(image->img, &image->edit, err);
    *out = image->edit;
    return qcbmi_machine_blame(disk, at, ret, err);
}
