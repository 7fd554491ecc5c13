/* mend.c - changes of an image whose bitmaps are damaged: what is mended with them is told
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "colour.h"
#include "mend.h"
#include "qemu_text.h"

static bool has(const struct qcbm_image *img, bool (*is)(const struct qcbm_problem *problem))
{
    struct qcbm_finding f;

    for (uint32_t i = 0; qcbm_finding_get(img, i, &f, sizeof f) == 0; i++)
        if (is(f.problem))
            return true;
    return false;
}

static bool is_damage_of_bitmaps(const struct qcbm_problem *problem)
{
    return problem->repair == QCBM_REPAIR_BITMAPS && problem->severity != QCBM_CHECK_WARNING;
}

bool mend_is_damaged(const struct qcbm_image *img)
{
    return has(img, is_damage_of_bitmaps);
}

bool mend_may_help(int ret)
{
    return ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSAFE;
}

static void put(const char *word, const char *text)
{
    if (!text)
        return;
    fputs(word, stderr);
    print_escaped(stderr, text, strlen(text));
}

void mend_print_row(const struct qcbm_repair_row *row, const char *word)
{
    fprintf(stderr, "qcbm: ");
    colour_word(stderr, TONE_NOTE, word);
    fprintf(stderr, " [%s]", row->code);
    put(" ", row->done);
    put("; kept: ", row->kept);
    put("; lost: ", row->lost);
    fputc('\n', stderr);
}

/* Bitmaps of which nothing is left but their number are gone with the old directory, whoever asked for what. */
static bool gives_up_others(const struct qcbm_repair_row *row)
{
    return strcmp(row->code, "bitmap-directory") == 0 && row->lost;
}

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    struct qcbm_error *refused = opaque;

    if (gives_up_others(row)) {
        refused->code = QCBM_E_UNSAFE;
        refused->offset = row->offset;
        snprintf(refused->message, sizeof refused->message,
                 "the bitmap directory is damaged, and not only what you name would be gone: %s; "
                 "'qcbm check -r bitmaps' first, which keeps what can be kept",
                 row->lost);
        return 1;
    }
    mend_print_row(row, "repair:");
    return 0;
}

int mend_begin(struct qcbm_image *img, struct qcbm_edit **edit, struct qcbm_error *err)
{
    struct qcbm_error refused = { .code = 0 };
    int ret = qcbm_edit_begin_mending(img, on_row, &refused, edit, err);

    if (refused.code == 0)
        return ret;
    *err = refused;
    return refused.code;
}
