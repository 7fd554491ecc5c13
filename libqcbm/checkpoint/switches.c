/* switches.c - the states of the sectors that a plan switches
 * SPDX-License-Identifier: MIT */
#include "checkpoint/switches.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "checkpoint/fence.h"

#define SECTOR QCBMI_JOURNAL_SECTOR

/* ---- collected ----------------------------------------------------------------------------------------- */

struct sector {
    uint64_t off;
    uint8_t bytes[SECTOR];  /* as the plan has them so far */
    uint8_t before[SECTOR]; /* the stage at hand */
    bool changes;
};

struct collect {
    struct qcbmi_journal_disk *d;
    const struct qcbmi_plan *plan;
    struct qcbmi_image *img;
    struct sector *sectors;
    size_t n, capacity;
};

static struct sector *find(const struct collect *c, uint64_t off)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->sectors[i].off == off)
            return &c->sectors[i];
    return NULL;
}

/* As it is in the file; what lies behind its end will be zeros. */
static int add(struct collect *c, uint64_t off, struct qcbm_error *err)
{
    struct sector *s;
    uint64_t size = c->img->io.size;

    if (find(c, off))
        return 0;
    if (qcbmi_grow_array(&c->sectors, &c->capacity, c->n, sizeof(*s), err) < 0)
        return QCBM_E_NOMEM;
    s = &c->sectors[c->n++];
    memset(s, 0, sizeof(*s));
    s->off = off;
    return off < size ? qcbmi_io_read(&c->img->io, off, s->bytes, u64_min(SECTOR, size - off), "sector", err) : 0;
}

static bool is_switch(const struct qcbmi_plan_stage *stage)
{
    return stage->switches && !stage->reclaims && stage->n;
}

/* The sectors that will be switched. */
static int find_sectors(struct collect *c, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; i < c->plan->n; i++) {
        const struct qcbmi_plan_stage *stage = &c->plan->stages[i];

        for (size_t j = 0; ret == 0 && is_switch(stage) && j < stage->n; j++) {
            const struct qcbmi_plan_write *w = &stage->writes[j];

            if (w->off / SECTOR != (w->off + w->len - 1) / SECTOR)
                return qcbmi_fail(err, QCBM_E_UNSUPPORTED, w->off, "%s: a switch of more than a sector", w->what);
            ret = add(c, align_down(w->off, SECTOR), err);
        }
    }
    return ret;
}

/* The part of @w that lies in @s. */
static int apply(struct sector *s, const struct qcbmi_plan_write *w, struct qcbm_error *err)
{
    uint64_t from = u64_max(s->off, w->off), end = u64_min(s->off + SECTOR, w->off + w->len);

    return from < end ? qcbmi_source_load(&w->source, from - w->off, s->bytes + (from - s->off), end - from, err) : 0;
}

static int apply_stage(struct collect *c, const struct qcbmi_plan_stage *stage, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t k = 0; k < c->n; k++)
        memcpy(c->sectors[k].before, c->sectors[k].bytes, SECTOR);
    for (size_t j = 0; ret == 0 && j < stage->n; j++)
        for (size_t k = 0; ret == 0 && k < c->n; k++)
            ret = apply(&c->sectors[k], &stage->writes[j], err);
    return ret;
}

static int give(struct collect *c, const struct sector *s, uint32_t stage, struct qcbm_error *err)
{
    struct qcbmi_journal_sector out = { .stage = stage, .off = s->off };

    memcpy(out.before, s->before, SECTOR);
    memcpy(out.after, s->bytes, SECTOR);
    return qcbmi_journal_add_sector(c->d, &out, err);
}

/* Twice the same walk: the sectors that stay come first. */
static int walk(struct collect *c, bool gives, struct qcbm_error *err)
{
    uint32_t stage = 0;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < c->plan->n; i++) {
        bool switches = is_switch(&c->plan->stages[i]);

        if (c->plan->stages[i].reclaims)
            break;
        ret = apply_stage(c, &c->plan->stages[i], err);
        stage += switches;
        for (size_t k = 0; ret == 0 && switches && k < c->n; k++) {
            if (memcmp(c->sectors[k].before, c->sectors[k].bytes, SECTOR) == 0)
                continue;
            c->sectors[k].changes = true;
            ret = gives ? give(c, &c->sectors[k], stage, err) : 0;
        }
    }
    return ret;
}

static int reload(struct collect *c, struct qcbm_error *err)
{
    struct sector *old = c->sectors;
    size_t n = c->n;
    int ret = 0;

    c->sectors = NULL;
    c->n = c->capacity = 0;
    for (size_t k = 0; ret == 0 && k < n; k++) {
        ret = add(c, old[k].off, err);
        if (ret == 0)
            c->sectors[k].changes = old[k].changes;
    }
    free(old);
    return ret;
}

static int give_kept(struct collect *c, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t k = 0; ret == 0 && k < c->n; k++) {
        memcpy(c->sectors[k].before, c->sectors[k].bytes, SECTOR);
        if (!c->sectors[k].changes)
            ret = give(c, &c->sectors[k], 0, err);
    }
    return ret;
}

int qcbmi_switches_collect(struct qcbmi_journal_disk *d, const struct qcbmi_plan *plan, struct qcbm_image *handle,
                           struct qcbm_error *err)
{
    struct collect c = { .d = d, .plan = plan, .img = handle->image };
    int ret = add(&c, 0, err);

    if (ret == 0 && handle->bitmaps->has_ext)
        ret = add(&c, align_down(handle->bitmaps->ext_offset + 8, SECTOR), err);
    if (ret == 0)
        ret = find_sectors(&c, err);
    if (ret == 0)
        ret = walk(&c, false, err);
    if (ret == 0)
        ret = give_kept(&c, err);
    if (ret == 0)
        ret = reload(&c, err);
    if (ret == 0)
        ret = walk(&c, true, err);
    free(c.sectors);
    return ret;
}

/* ---- found again --------------------------------------------------------------------------------------- */

static void mask_fence(uint64_t off, uint8_t *sector)
{
    if (off == 0)
        be64_store(sector + Q2_OFF_AUTOCLEAR, be64_load(sector + Q2_OFF_AUTOCLEAR) & ~QCBMI_FENCE);
}

/* A sector has a version for each stage that changes it: which of them it has in state @stage. */
static const uint8_t *version_at(const struct qcbmi_journal_disk *d, uint64_t off, uint32_t stage)
{
    const uint8_t *version = NULL;

    for (size_t i = 0; i < d->n_sectors; i++) {
        const struct qcbmi_journal_sector *s = &d->sectors[i];

        if (s->of_overlay || s->off != off)
            continue;
        if (!version)
            version = s->before;
        if (s->stage <= stage)
            version = s->after;
    }
    return version;
}

uint32_t qcbmi_switches_last(const struct qcbmi_journal_disk *d)
{
    uint32_t last = 0;

    for (size_t i = 0; i < d->n_sectors; i++)
        if (!d->sectors[i].of_overlay)
            last = d->sectors[i].stage;
    return last;
}

/* Is all as it is behind @stage? @now has the sectors as they are, in the order of d->sectors. */
static bool fits(const struct qcbmi_journal_disk *d, const uint8_t *now, uint32_t stage)
{
    for (size_t i = 0; i < d->n_sectors; i++)
        if (!d->sectors[i].of_overlay && memcmp(now + i * SECTOR, version_at(d, d->sectors[i].off, stage), SECTOR) != 0)
            return false;
    return true;
}

static int read_now(const struct qcbmi_journal_disk *d, struct qcbmi_io *io, uint8_t *now, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < d->n_sectors; i++) {
        uint64_t off = d->sectors[i].off;

        if (d->sectors[i].of_overlay || off >= io->size)
            continue;
        ret = qcbmi_io_read(io, off, now + i * SECTOR, u64_min(SECTOR, io->size - off), "sector", err);
        mask_fence(off, now + i * SECTOR);
    }
    return ret;
}

/* The first half of the change has made the file as long as its second half needs it. */
static bool are_inside(const struct qcbmi_journal_disk *d, uint64_t size)
{
    for (size_t i = 0; i < d->n_sectors; i++)
        if (!d->sectors[i].of_overlay && d->sectors[i].off >= size)
            return false;
    return true;
}

int qcbmi_switches_look(const struct qcbmi_journal_disk *d, struct qcbmi_io *io, uint32_t *stage, bool *known,
                        struct qcbm_error *err)
{
    uint8_t *now = qcbmi_alloc_array(d->n_sectors, SECTOR, err);
    uint32_t last = qcbmi_switches_last(d);
    int ret = now ? read_now(d, io, now, err) : QCBM_E_NOMEM;

    *known = false;
    for (*stage = 0; ret == 0 && !*known && *stage <= last && are_inside(d, io->size);) {
        *known = fits(d, now, *stage);
        *stage += !*known;
    }
    free(now);
    return ret;
}

int qcbmi_switches_go_on(const struct qcbmi_journal_disk *d, struct qcbmi_io *io, uint32_t stage, bool fence,
                         struct qcbm_error *err)
{
    int ret = 0;

    io->doing = "sector of a switch";
    for (size_t i = 0; ret == 0 && i < d->n_sectors; i++) {
        const struct qcbmi_journal_sector *s = &d->sectors[i];
        uint8_t bytes[SECTOR];

        if (s->of_overlay || s->stage <= stage)
            continue;
        memcpy(bytes, s->after, SECTOR);
        if (s->off == 0 && fence)
            be64_store(bytes + Q2_OFF_AUTOCLEAR, be64_load(bytes + Q2_OFF_AUTOCLEAR) | QCBMI_FENCE);
        ret = qcbmi_io_write(io, s->off, bytes, SECTOR, err);
        if (ret == 0)
            ret = qcbmi_io_flush(io, err);
    }
    return ret;
}
