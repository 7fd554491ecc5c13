/* cmd_bitmap_prune.c - the bitmaps of one image whose names match deleted, but for the last of them
 * SPDX-License-Identifier: MIT
 *
 * "Last" is by name, with numbers compared as numbers. The place in the directory says nothing about the age: QEMU
 * stores bitmaps that were added in one session newest first. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap_prune.h"
#include "mend.h"
#include "qemu_text.h"

#define DIGITS "0123456789"

/* Digits at the start of @text, without leading zeros. */
static size_t number(const char **text)
{
    *text += strspn(*text, "0");
    return strspn(*text, DIGITS);
}

/* Not strverscmp(): it takes what begins with a zero for a fraction, so 010 would come before 09. */
static int compare_names(const char *a, const char *b)
{
    int order = 0;

    while (order == 0 && *a && *b) {
        if (strspn(a, DIGITS) && strspn(b, DIGITS)) {
            size_t n = number(&a), m = number(&b);

            order = n != m ? (n > m) - (n < m) : strncmp(a, b, n);
            a += n;
            b += m;
        } else {
            order = (unsigned char)*a++ - (unsigned char)*b++;
        }
    }
    return order ? order : (unsigned char)*a - (unsigned char)*b;
}

static int is_at(const void *name, const void *match)
{
    const char *other = ((const struct match *)match)->name;
    int order = compare_names(name, other);

    return order ? order : strcmp(name, other); /* 01 and 1 */
}

static int by_number(const void *a, const void *b)
{
    return is_at(((const struct match *)a)->name, b);
}

const struct match *prune_named(const struct prune *p, const char *name)
{
    return p->n ? bsearch(name, p->matches, p->n, sizeof *p->matches, is_at) : NULL;
}

/* Nobody can use an inconsistent bitmap, so it is none of those that are kept. */
void prune_choose(struct prune *p)
{
    uint64_t kept = 0;

    for (size_t i = p->n; i-- > 0;) {
        p->matches[i].goes = !p->matches[i].usable || kept == p->keep;
        kept += !p->matches[i].goes;
    }
}

int prune_find(struct prune *p, struct qcbm_image *img)
{
    struct qcbm_image_info info;
    struct match *matches;

    qcbm_image_get_info(img, &info, sizeof info);
    matches = realloc(p->matches, (p->n + info.bitmap_count + 1) * sizeof *matches);
    if (!matches)
        return cmd_error("no memory");
    p->matches = matches;
    for (uint32_t i = 0; i < info.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof b);
        if (strlen(b.name) != b.name_len || fnmatch(p->pattern, b.name, 0) != 0)
            continue; /* a name with a NUL cannot be said */
        /* the commit takes the library's name away */
        p->matches[p->n] = (struct match){ .name = strdup(b.name), .usable = b.usable };
        if (!p->matches[p->n++].name)
            return cmd_error("no memory");
    }
    qsort(p->matches, p->n, sizeof *p->matches, by_number);
    return EXIT_DONE;
}

static int take_out(const struct prune *p, struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < p->n; i++)
        if (p->matches[i].goes)
            ret = qcbm_edit_remove(edit, p->matches[i].name, err);
    return ret;
}

/* Two of one name are one when that is mended, and it may be gone. */
static int take_out_mended(const struct prune *p, struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < p->n; i++) {
        if (p->matches[i].goes)
            ret = qcbm_edit_remove(edit, p->matches[i].name, err);
        ret = ret == QCBM_E_NOTFOUND ? 0 : ret;
    }
    return ret;
}

/* Would the change be refused for bitmaps that stay, or can none of them be named? */
static bool must_mend(const struct prune *p)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_image_info info;
    struct qcbm_error err;
    int ret;

    if (!mend_is_damaged(p->img))
        return false;
    qcbm_image_get_info(p->img, &info, sizeof info);
    if (info.bitmap_count == 0)
        return true;
    ret = qcbm_edit_begin(p->img, &edit, &err);
    if (ret == 0)
        ret = take_out(p, edit, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err);
    qcbm_edit_free(edit);
    return mend_may_help(ret);
}

static bool is_named(const void *opaque, const char *name)
{
    const struct prune *p = opaque;
    const struct match *found = prune_named(p, name);

    return found && found->goes;
}

bool prune_any(const struct prune *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->matches[i].goes)
            return true;
    return false;
}

static int begin_plain(const struct prune *p, struct qcbm_edit **edit, struct qcbm_error *err)
{
    int ret = qcbm_edit_begin(p->img, edit, err);

    return ret < 0 ? ret : take_out(p, *edit, err);
}

/* What can be listed is what was matched. Where none of that goes, to mend the rest is not what was asked for. */
static int begin(const struct prune *p, struct mend *mend, struct qcbm_edit **edit, struct qcbm_error *err)
{
    int ret;

    if (!must_mend(p))
        return begin_plain(p, edit, err);
    ret = mend_begin(mend, p->img, edit, err);
    if (ret < 0 || prune_any(p))
        return ret < 0 ? ret : take_out_mended(p, *edit, err);
    qcbm_edit_free(*edit);
    mend_clear(mend);
    return begin_plain(p, edit, err);
}

int prune_remove(struct prune *p)
{
    struct mend mend = { .named = is_named, .opaque = p };
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = begin(p, &mend, &edit, &err);

    if (ret == 0)
        ret = plan_run(&p->plan, p->img, edit, p->common, &err);
    if (ret == 0)
        mend_tell(&mend);
    qcbm_edit_free(edit);
    mend_clear(&mend);
    return ret < 0 ? cmd_lib_error(&err, "Could not change '%s'", p->common->path) : EXIT_DONE;
}

void prune_print(const struct prune *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!p->matches[i].goes)
            continue;
        printf("prune: '");
        print_escaped(stdout, p->matches[i].name, strlen(p->matches[i].name));
        printf("' %s\n", p->common->dry_run ? "would be removed" : "is removed");
    }
    if (p->common->dry_run)
        plan_print(&p->plan, stdout);
}

static void write_names(struct json_writer *w, const char *key, const struct prune *p, bool goes)
{
    json_begin_array(w, key);
    for (size_t i = 0; i < p->n; i++)
        if (p->matches[i].goes == goes)
            json_string(w, NULL, p->matches[i].name);
    json_end_array(w);
}

void prune_write_json(const struct prune *p, struct json_writer *w)
{
    json_begin_object(w, NULL);
    json_string(w, "image", p->common->path);
    write_names(w, "removed", p, true);
    write_names(w, "kept", p, false);
    json_bool(w, "dry-run", p->common->dry_run);
    plan_write_json(&p->plan, p->common->dry_run, w);
    json_end_object(w);
}

void prune_clear(struct prune *p)
{
    plan_clear(&p->plan);
    for (size_t i = 0; i < p->n; i++)
        free(p->matches[i].name);
    free(p->matches);
    qcbm_close(p->img);
}
