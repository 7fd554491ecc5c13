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

static bool is_broken_directory(const struct qcbm_problem *problem)
{
    return problem->id == QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN;
}

bool mend_is_damaged(const struct qcbm_image *img)
{
    return has(img, is_damage_of_bitmaps);
}

bool mend_may_help(int ret)
{
    return ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSAFE;
}

bool mend_may_have_lost(const struct qcbm_image *img)
{
    return has(img, is_broken_directory);
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

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    (void)opaque;
    mend_print_row(row, "repair:");
    return 0;
}

int mend_begin(struct qcbm_image *img, struct qcbm_edit **edit, struct qcbm_error *err)
{
    return qcbm_edit_begin_mending(img, on_row, NULL, edit, err);
}
