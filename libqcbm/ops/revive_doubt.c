/* revive_doubt.c - is all that was written allocated now? What speaks against it
 * SPDX-License-Identifier: MIT */
#include "ops/revive_doubt.h"

#include <inttypes.h>
#include <stdio.h>

#include "bitmap/leak_count.h"
#include "bitmap/leak_none.h"
#include "ops/allocation.h"

#define MEMORY (UINT64_C(64) << 20) /* for counting references; with more to count the tables are read again */

/* Is it an error that says something of the image, and not of this machine? */
static bool is_about_image(int ret)
{
    return ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSAFE || ret == QCBM_E_LIMIT;
}

static int take_as_doubt(int ret, const char *what, const struct qcbm_error *cause, char why[QCBMI_DOUBT_TEXT],
                         struct qcbm_error *err)
{
    if (is_about_image(ret)) {
        snprintf(why, QCBMI_DOUBT_TEXT, "%s: %s", what, cause->message);
        return 0;
    }
    if (ret < 0 && err)
        *err = *cause;
    return ret;
}

static void put_into_words(const struct qcbmi_lost_clues *clues, const struct qcbmi_lost *found,
                           char why[QCBMI_DOUBT_TEXT])
{
    char text[1024] = "";

    for (size_t i = 0; i < found->n && !text[0]; i++)
        if (qcbmi_lost_is_evidence(&found->list[i]))
            qcbmi_lost_table_text(clues->img, &found->list[i], text, sizeof(text));
    if (found->n_evidence)
        snprintf(why, QCBMI_DOUBT_TEXT,
                 "a mapping table is lost, and guest data with it; where it was nobody knows: %s", text);
    if (found->n_evidence || !found->suspicion)
        return;
    qcbmi_lost_suspicion_text(clues->img, clues->leaks, found, text, sizeof(text));
    snprintf(
        why, QCBMI_DOUBT_TEXT,
        "a mapping table may be lost, and guest data with it: %s. A crash leaves leaks, too: if the disk is known to "
        "be "
        "whole, 'qcbm check -r leaks --force FILE' frees them, before a revival that then has less dirty (one that was "
        "done is to be undone first)",
        text);
}

static int look_for_lost(struct qcbmi_image *img, const struct qcbmi_bitmap_list *bitmaps, struct qcbmi_l2_named *named,
                         char why[QCBMI_DOUBT_TEXT], struct qcbm_error *err)
{
    struct qcbmi_holes holes;
    struct qcbmi_leaks leaks = { 0 };
    struct qcbmi_lost_clues clues = { img, bitmaps, &holes, &leaks, false };
    struct qcbmi_lost found = { 0 };
    struct qcbm_error cause = { 0 };
    bool none;
    int ret;

    qcbmi_holes_init(&holes, &img->io);
    ret = qcbmi_leaks_none(&clues, named, &none, &cause);
    if (ret == 0 && !none)
        ret = qcbmi_leaks_count(&clues, MEMORY, NULL, &cause);
    if (ret == 0)
        ret = qcbmi_lost_search(&clues, &found, &cause);
    if (ret == 0)
        put_into_words(&clues, &found, why);
    qcbmi_lost_free(&found);
    qcbmi_leaks_free(&leaks);
    qcbmi_holes_free(&holes);
    return take_as_doubt(ret, "whether a mapping table is lost cannot be told", &cause, why, err);
}

int qcbmi_revive_look(struct qcbmi_image *img, const struct qcbmi_bitmap_list *bitmaps, struct qcbmi_dirtymap *map,
                      struct qcbmi_l2_named *named, char why[QCBMI_DOUBT_TEXT], struct qcbm_error *err)
{
    struct qcbmi_allocation a = { .named = named };
    uint64_t room = QCBMI_L2_NAMED_MAX;
    struct qcbm_error cause = { 0 };
    int ret = qcbmi_l2_named_begin(named, img, &room, &cause);

    if (ret == 0)
        ret = qcbmi_allocation_mark(img, map, &a, NULL, &cause);
    why[0] = '\0';
    ret = take_as_doubt(ret, "the mapping tables cannot be read", &cause, why, err);
    if (ret < 0 || why[0])
        return ret;
    if (a.damage.count) {
        snprintf(why, QCBMI_DOUBT_TEXT,
                 "%" PRIu64
                 " entries of mapping tables are damaged, and what else was in these tables nobody knows: %s",
                 a.damage.count, a.damage.first.message);
        return 0;
    }
    if (img->open_flags & QCBM_OPEN_FORCE_SHARE) /* what others write meanwhile tells nothing */
        return 0;
    return look_for_lost(img, bitmaps, named, why, err);
}
