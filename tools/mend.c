/* mend.c - changes of an image whose bitmaps are damaged: what is mended with them is told
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
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

static void put(FILE *out, const char *word, const char *text)
{
    if (!text)
        return;
    fputs(word, out);
    print_escaped(out, text, strlen(text));
}

static void put_row(FILE *out, const struct qcbm_repair_row *row)
{
    fprintf(out, " [%s]", row->code);
    put(out, " ", row->done);
    put(out, "; kept: ", row->kept);
    put(out, "; lost: ", row->lost);
    fputc('\n', out);
}

static void put_word(const char *word)
{
    fprintf(stderr, "qcbm: ");
    colour_word(stderr, TONE_NOTE, word);
}

void mend_print_row(const struct qcbm_repair_row *row, const char *word)
{
    put_word(word);
    put_row(stderr, row);
}

/* Could the bits of the bitmap at @offset be read before? Rows and bitmaps come in the order of the directory. */
static bool was_usable(struct mend *m, uint64_t offset)
{
    struct qcbm_bitmap_info b = { 0 };

    while (qcbm_bitmap_get(m->img, m->at, &b, sizeof b) == 0 && b.entry_offset < offset)
        m->at++;
    return b.entry_offset == offset && b.usable;
}

/* What was not named loses nothing by a change of something else: neither bits that could be read, nor, where nothing
 * is left but the number of bitmaps, itself. */
static bool takes_from_others(struct mend *m, const struct qcbm_repair_row *row)
{
    if (!row->lost)
        return false;
    return !row->bitmap || (!m->named(m->opaque, row->bitmap) && was_usable(m, row->offset));
}

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    struct mend *m = opaque;

    if (takes_from_others(m, row)) {
        m->refused.code = QCBM_E_UNSAFE;
        m->refused.offset = row->offset;
        snprintf(m->refused.message, sizeof m->refused.message,
                 "bitmaps are damaged, and not only what you name would be gone: %s: %s; "
                 "'qcbm check -r bitmaps' first, which keeps what can be kept",
                 row->done, row->lost);
        return 1;
    }
    put_row(m->out, row);
    return 0;
}

int mend_begin(struct mend *m, struct qcbm_image *img, struct qcbm_edit **edit, struct qcbm_error *err)
{
    int ret;

    m->img = img;
    m->out = open_memstream(&m->told, &m->size);
    if (!m->out) {
        *err = (struct qcbm_error){ .code = QCBM_E_NOMEM, .offset = QCBM_NO_OFFSET, .message = "no memory" };
        return QCBM_E_NOMEM;
    }
    ret = qcbm_edit_begin_mending(img, on_row, m, edit, err);
    if (m->refused.code == 0)
        return ret;
    *err = m->refused;
    return m->refused.code;
}

void mend_tell(struct mend *m)
{
    if (!m->out || fflush(m->out) != 0)
        return;
    for (const char *line = m->told, *end; (end = strchr(line, '\n')); line = end + 1) {
        put_word("repair:");
        fwrite(line, 1, (size_t)(end - line) + 1, stderr);
    }
}

void mend_clear(struct mend *m)
{
    if (m->out)
        fclose(m->out);
    free(m->told);
    m->out = NULL;
    m->told = NULL;
}
