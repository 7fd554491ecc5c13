/* snapshot_view.c - an internal snapshot: found by what a user calls it, and the image as it was then
 * SPDX-License-Identifier: MIT */
#include "image/snapshot_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "image/snapshots.h"
#include "image/tables.h"

#define MAX_LISTED 8u /* snapshots that a message names */

/* ---- which one ---- */

static bool is_called(const uint8_t *bytes, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(bytes, word, len) == 0;
}

/* "1 'name'", printable and cut short. */
static void put_label(const struct q2_snapshot *s, char *text, size_t size)
{
    char id[24], name[80];

    qcbmi_printable(id, sizeof(id), s->id, s->id_len);
    qcbmi_printable(name, sizeof(name), s->name, s->name_len);
    snprintf(text, size, "%s '%s'", id, name);
}

/* The snapshots that are @wanted, as far as a message has room. */
static void list_snapshots(const struct qcbmi_image *img,
                           bool (*wanted)(const struct q2_snapshot *s, const char *words), const char *words,
                           char *text, size_t size)
{
    uint32_t listed = 0;

    *text = '\0';
    for (uint32_t i = 0; i < img->n_snapshots_loaded; i++) {
        size_t used = strlen(text);
        char label[128];

        if (!wanted(&img->snapshots[i], words))
            continue;
        put_label(&img->snapshots[i], label, sizeof(label));
        if (listed == MAX_LISTED || used + strlen(label) + 16 > size) {
            snprintf(text + used, size - used, ", and more");
            return;
        }
        snprintf(text + used, size - used, "%s%s", listed++ ? ", " : "", label);
    }
}

static bool any(const struct q2_snapshot *s, const char *words)
{
    (void)s;
    (void)words;
    return true;
}

static bool fits(const struct q2_snapshot *s, const char *words)
{
    if (strncmp(words, "id:", 3) == 0)
        return is_called(s->id, s->id_len, words + 3);
    if (strncmp(words, "name:", 5) == 0)
        return is_called(s->name, s->name_len, words + 5);
    return is_called(s->id, s->id_len, words) || is_called(s->name, s->name_len, words);
}

static int fail_to_find(const struct qcbmi_image *img, const char *words, struct qcbm_error *err)
{
    char list[256], text[128];

    list_snapshots(img, any, NULL, list, sizeof(list));
    qcbmi_printable(text, sizeof(text), words, strlen(words));
    if (img->n_snapshots_loaded == 0)
        return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "there is no snapshot '%s', nor any other", text);
    return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "there is no snapshot '%s'; there are: %s", text, list);
}

static int fail_to_choose(const struct qcbmi_image *img, const char *words, struct qcbm_error *err)
{
    char list[256], text[128];

    list_snapshots(img, fits, words, list, sizeof(list));
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "'%s' fits several snapshots (%s): say id:ID or name:NAME",
                      qcbmi_printable(text, sizeof(text), words, strlen(words)), list);
}

int qcbmi_snapshot_find(struct qcbmi_image *img, const char *words, uint32_t *index, struct qcbm_error *err)
{
    uint32_t found = 0, first = 0;
    int ret;

    if (img->g.data_file)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "an image with an external data file has no internal snapshots");
    ret = qcbmi_snapshots_load(img, err);
    if (ret < 0)
        return ret;
    for (uint32_t i = 0; i < img->n_snapshots_loaded; i++)
        if (fits(&img->snapshots[i], words) && found++ == 0)
            first = i;
    if (found != 1)
        return found ? fail_to_choose(img, words, err) : fail_to_find(img, words, err);
    *index = first;
    return 0;
}

/* ---- the image as it was ---- */

/* Clusters past the end of its L1 table are none; VM state lies behind the disk and is not looked at. */
static int take_l1(struct qcbmi_image *view, const struct q2_snapshot *s, struct qcbm_error *err)
{
    uint64_t bytes;

    view->h.l1_offset = s->l1_offset;
    view->h.l1_entries = s->l1_entries;
    view->g.l1_used = u64_min(view->g.l1_used, s->l1_entries);
    bytes = 8 * view->g.l1_used;
    if (!qcbmi_snapshot_l1_is_sound(view, s) || (bytes && s->l1_offset == 0) ||
        !range_fits(s->l1_offset, bytes, view->io.size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, view->h.snapshots_offset,
                          "its L1 table, %" PRIu32 " entries at 0x%" PRIx64
                          ", is not cluster-aligned, too large, or passes the end of the file",
                          s->l1_entries, s->l1_offset);
    return qcbmi_l1_load(view, err);
}

int qcbmi_snapshot_view_init(struct qcbmi_snapshot_view *v, struct qcbmi_image *img, uint32_t index,
                             struct qcbm_error *err)
{
    const struct q2_snapshot *s = &img->snapshots[index];
    char label[112];
    int ret = 0;

    *v = (struct qcbmi_snapshot_view){ .img = *img, .index = index };
    v->img.l1 = NULL;
    v->id = img->snapshot_strings[2 * index];
    v->name = img->snapshot_strings[2 * index + 1];
    put_label(s, label, sizeof(label));
    snprintf(v->label, sizeof(v->label), "snapshot %s", label);
    if (s->disk_size != UINT64_MAX) /* QEMU takes the current size for what an old entry does not say */
        v->img.h.size = s->disk_size;
    q2_geometry_derive(&v->img.h, &v->img.g);
    if (v->img.h.size > Q2_MAX_OFFSET)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, img->h.snapshots_offset, "a disk of %" PRIu64 " bytes is none",
                         v->img.h.size);
    if (ret == 0)
        ret = take_l1(&v->img, s, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "%s: ", v->label) : 0;
}

void qcbmi_snapshot_view_free(struct qcbmi_snapshot_view *v)
{
    free(v->img.l1);
    *v = (struct qcbmi_snapshot_view){ 0 };
}
