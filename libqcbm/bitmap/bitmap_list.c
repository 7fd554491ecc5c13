/* bitmap_list.c - the bitmap directory as a list; a bad entry is a finding and hides no other
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"

static void clear(struct qcbmi_bitmap_list *list)
{
    qcbmi_bitmap_list_free(list->was);
    for (uint32_t i = 0; i < list->n; i++)
        free(list->list[i].name);
    free(list->list);
    free(list->by_name);
    free(list->directory);
    memset(list, 0, sizeof(*list));
}

void qcbmi_bitmap_list_free(struct qcbmi_bitmap_list *list)
{
    if (!list)
        return;
    clear(list);
    free(list);
}

static void mark_broken(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, const struct qcbm_error *why)
{
    list->broken = true;
    list->why_broken = *why;
    if (!list->stale)
        qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN, why->offset, UINT32_MAX, "%s",
                          why->message);
}

static void mark_bad(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, uint32_t i, enum qcbm_problem_id id)
{
    list->list[i].bad = true;
    if (!list->stale)
        qcbmi_finding_add(&handle->findings, id, list->list[i].why.offset, i, "%s", list->list[i].why.message);
}

int qcbmi_compare_names(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
    int c = n ? memcmp(a, b, n) : 0;

    return c ? c : (a_len > b_len) - (a_len < b_len);
}

/* A qsort comparator has no context: compare what the elements carry. */
static int by_name(const void *a, const void *b)
{
    const struct qcbmi_bitmap *x = *(struct qcbmi_bitmap *const *)a, *y = *(struct qcbmi_bitmap *const *)b;
    int c = qcbmi_compare_names(x->d.name, x->d.name_len, y->d.name, y->d.name_len);

    return c ? c : u64_compare(x->entry_offset, y->entry_offset);
}

static int by_table(const void *a, const void *b)
{
    const struct qcbmi_bitmap *x = *(struct qcbmi_bitmap *const *)a, *y = *(struct qcbmi_bitmap *const *)b;
    int c = u64_compare(x->d.table_offset, y->d.table_offset);

    return c ? c : u64_compare(x->entry_offset, y->entry_offset);
}

static bool same_name(const struct qcbmi_bitmap *x, const struct qcbmi_bitmap *y)
{
    return x->d.name_len == y->d.name_len && memcmp(x->d.name, y->d.name, x->d.name_len) == 0;
}

/* Of two that have one name, or the same bits, one is wrong, and which one nobody knows: neither is read for the
 * other. */
static void doubt(struct qcbmi_bitmap *b, const char *why)
{
    if (b->bad || b->shared || b->doubted)
        return;
    b->doubted = true;
    qcbmi_fail(&b->why, QCBM_E_CORRUPT, b->entry_offset, "bitmap directory entry at 0x%" PRIx64 ": %s", b->entry_offset,
               why);
}

static void find_duplicates(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbmi_bitmap **order)
{
    qcbmi_sort(order, list->n, sizeof(struct qcbmi_bitmap *), by_name);
    for (uint32_t i = 1; i < list->n; i++) {
        struct qcbmi_bitmap *b = order[i];

        if (b->bad || !same_name(order[i - 1], b))
            continue;
        qcbmi_fail(&b->why, QCBM_E_CORRUPT, b->entry_offset,
                   "bitmap directory entry %u: its name is also that of the entry at 0x%" PRIx64
                   ", names must be unique",
                   (unsigned)(b - list->list), order[i - 1]->entry_offset);
        mark_bad(handle, list, (uint32_t)(b - list->list), QCBM_PROBLEM_BITMAP_NAME_DUPLICATE);
        doubt(order[i - 1], "its name is also that of another entry");
    }
}

/* Tables that overlap: reading all of them could cost the file's length many times over. */
static void find_shared(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbmi_bitmap **order)
{
    struct qcbmi_bitmap *longest = NULL; /* the one that ends at @end */
    uint64_t end = 0;

    qcbmi_sort(order, list->n, sizeof(struct qcbmi_bitmap *), by_table);
    for (uint32_t i = 0; i < list->n; i++) {
        struct qcbmi_bitmap *b = order[i];
        uint64_t b_end = b->d.table_offset + 8 * (uint64_t)b->d.table_entries;

        if (b->bad)
            continue;
        if (i && b->d.table_offset < end) {
            qcbmi_fail(&b->why, QCBM_E_CORRUPT, b->entry_offset,
                       "bitmap directory entry %u: its table at 0x%" PRIx64 " overlaps the table of another bitmap",
                       (unsigned)(b - list->list), b->d.table_offset);
            b->shared = true;
            if (!list->stale)
                qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAP_TABLE_SHARED, b->entry_offset,
                                  (uint32_t)(b - list->list), "%s", b->why.message);
            doubt(longest, "its table is overlapped by that of another bitmap");
        }
        longest = !longest || b_end > end ? b : longest;
        end = u64_max(end, b_end);
    }
}

static int find_relations(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbm_error *err)
{
    struct qcbmi_bitmap **order = qcbmi_alloc_array(list->n, sizeof(struct qcbmi_bitmap *), err);

    list->by_name = qcbmi_alloc_array(list->n, sizeof(struct qcbmi_bitmap *), err);
    if (!order || !list->by_name) {
        free(order);
        return QCBM_E_NOMEM;
    }
    for (uint32_t i = 0; i < list->n; i++)
        order[i] = list->by_name[i] = &list->list[i];
    find_duplicates(handle, list, list->by_name);
    find_shared(handle, list, order);
    free(order);
    return 0;
}

static int parse_entry(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct q2_cursor *in,
                       struct qcbm_error *err)
{
    struct qcbmi_bitmap *b = &list->list[list->n];
    const uint8_t *start = in->at;
    struct qcbm_error why;

    b->entry_offset = list->ext.directory_offset + (uint64_t)(start - list->directory);
    if (q2_bitmap_dirent_parse(in, b->entry_offset, &b->d, &why) < 0) {
        mark_broken(handle, list, &why);
        return 0;
    }
    b->entry_len = (uint64_t)(in->at - start);
    b->name = qcbmi_memdup_nul(b->d.name, b->d.name_len, err);
    if (!b->name)
        return QCBM_E_NOMEM;
    list->n++;
    if (q2_bitmap_dirent_check(&b->d, b->entry_offset, &handle->image->g, &b->why) < 0)
        mark_bad(handle, list, list->n - 1, QCBM_PROBLEM_BITMAP_ENTRY_CONSTRAINT);
    if ((b->d.flags & Q2_BITMAP_IN_USE) && !list->stale)
        qcbmi_finding_add(
            &handle->findings, QCBM_PROBLEM_BITMAP_IN_USE, b->entry_offset, list->n - 1,
            "bitmap directory entry %u is marked in use: it was not saved when the image was last used, or "
            "the image is in use elsewhere",
            list->n - 1);
    return 0;
}

static int parse_directory(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbm_error *err)
{
    struct qcbm_error why;
    struct q2_cursor in;
    int ret = 0;

    /* Each entry takes 24 bytes at least, so a lying count costs no more memory than the directory has. */
    list->list = qcbmi_alloc_array(u64_min(list->ext.n_bitmaps, list->ext.directory_size / Q2_BITMAP_DIRENT_FIXED),
                                   sizeof(*list->list), err);
    if (!list->list)
        return QCBM_E_NOMEM;
    q2_cursor_init(&in, list->directory, (size_t)list->ext.directory_size);
    while (ret == 0 && !list->broken && list->n < list->ext.n_bitmaps && q2_cursor_left(&in) >= Q2_BITMAP_DIRENT_FIXED)
        ret = parse_entry(handle, list, &in, err);
    if (ret < 0 || list->broken)
        return ret;
    if (list->n < list->ext.n_bitmaps || q2_cursor_left(&in)) {
        qcbmi_fail(&why, QCBM_E_CORRUPT, list->ext.directory_offset,
                   "bitmap directory: %u entries take %" PRIu64
                   " bytes, the header extension says %u entries in %" PRIu64 " bytes",
                   list->n, list->ext.directory_size - q2_cursor_left(&in), list->ext.n_bitmaps,
                   list->ext.directory_size);
        mark_broken(handle, list, &why);
    }
    return 0;
}

/* Of a stale one, too: QEMU looks at it before it looks whether the bitmaps count. */
static bool has_wrong_length(struct qcbm_image *handle, struct qcbmi_bitmap_list *list)
{
    bool wrong = list->ext_len != Q2_BITMAPS_EXT_LEN;

    if (wrong) {
        qcbmi_fail(&list->why_broken, QCBM_E_CORRUPT, list->ext_offset + 4,
                   "bitmaps_ext: Invalid extension length %" PRIu32 ", must be %u", list->ext_len, Q2_BITMAPS_EXT_LEN);
        qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN, list->ext_offset + 4, UINT32_MAX,
                          "%s", list->why_broken.message);
    }
    return list->broken = wrong;
}

static int read_directory(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbm_error *err)
{
    const struct q2_bitmaps_ext *ext = &list->ext;
    struct qcbm_error why;
    int ret;

    if (has_wrong_length(handle, list))
        return 0;
    if (q2_bitmaps_ext_check(ext, list->ext_offset + 8, handle->image->g.cluster_size, &why) < 0) {
        mark_broken(handle, list, &why);
        return 0;
    }
    if (!range_fits(ext->directory_offset, ext->directory_size, handle->image->io.size)) {
        qcbmi_fail(&why, QCBM_E_CORRUPT, list->ext_offset + 16,
                   "bitmap directory: %" PRIu64 " bytes at 0x%" PRIx64 " pass the end of the file", ext->directory_size,
                   ext->directory_offset);
        mark_broken(handle, list, &why);
        return 0;
    }
    list->directory = qcbmi_alloc_array(ext->directory_size, 1, err);
    if (!list->directory)
        return QCBM_E_NOMEM;
    ret = qcbmi_io_read_slack(&handle->image->io, ext->directory_offset, list->directory, ext->directory_size,
                              handle->image->g.cluster_size, "bitmap directory", &why);
    if (ret == QCBM_E_CORRUPT) {
        mark_broken(handle, list, &why);
        return 0;
    }
    if (ret < 0) {
        if (err)
            *err = why;
        return ret;
    }
    return parse_directory(handle, list, err);
}

static int read_all(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbm_error *err)
{
    int ret = read_directory(handle, list, err);

    if (ret == 0 && list->n)
        ret = find_relations(handle, list, err);
    if (ret < 0) /* nobody is to look for names in half a list */
        clear(list);
    return ret;
}

/* Any bytes may be there by now. That they cannot be read is no reason not to open the image. */
static int read_stale(struct qcbm_image *handle, struct qcbmi_bitmap_list *list, struct qcbm_error *err)
{
    struct qcbmi_bitmap_list *was = qcbmi_alloc_array(1, sizeof(*was), err);
    int ret;

    qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAPS_STALE, list->ext_offset, UINT32_MAX,
                      "bitmaps extension without autoclear feature bit 0: a program that does not know bitmaps wrote "
                      "to the image, its bitmaps cannot be trusted, and go away with the next change of bitmaps");
    list->stale = true;
    if (!was)
        return QCBM_E_NOMEM;
    was->has_ext = was->stale = true;
    was->ext_offset = list->ext_offset;
    was->ext_len = list->ext_len;
    was->ext = list->ext;
    ret = read_all(handle, was, err);
    if (ret == 0 && !was->broken) {
        list->was = was;
        return 0;
    }
    qcbmi_bitmap_list_free(was);
    return ret == QCBM_E_NOMEM ? ret : 0;
}

/* QEMU looks at it in each of them, and the last one counts. */
static uint32_t stored_length(const struct q2_extensions *exts)
{
    uint32_t len = Q2_BITMAPS_EXT_LEN;

    for (size_t i = 0; i < exts->n && len == Q2_BITMAPS_EXT_LEN; i++)
        if (exts->list[i].type == Q2_EXT_BITMAPS)
            len = exts->list[i].stored_len;
    return len;
}

/* No bitmap, but what is found when an image is opened is gathered here. */
static void tell_of_tag(struct qcbm_image *handle)
{
    const struct q2_extension *tag = q2_extension_find(&handle->image->exts, Q2_EXT_TAG);

    if (q2_tag_get(&handle->image->exts, NULL) == Q2_TAG_BAD)
        qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_TAG, tag->offset, UINT32_MAX, "%s", Q2_TAG_BAD_TEXT);
}

int qcbmi_bitmap_list_load(struct qcbm_image *handle, struct qcbm_error *err)
{
    const struct q2_extension *found = q2_extension_find(&handle->image->exts, Q2_EXT_BITMAPS);
    struct qcbmi_bitmap_list *list = qcbmi_alloc_array(1, sizeof(*list), err);

    if (!list)
        return QCBM_E_NOMEM;
    qcbmi_bitmap_list_free(handle->bitmaps);
    handle->bitmaps = list;
    handle->findings.n = 0;
    tell_of_tag(handle);
    if (!found) {
        if (handle->image->h.autoclear & QCBM_AUTOCLEAR_BITMAPS)
            qcbmi_finding_add(&handle->findings, QCBM_PROBLEM_BITMAPS_AUTOCLEAR_ALONE, Q2_OFF_AUTOCLEAR, UINT32_MAX,
                              "autoclear feature bit 0 (bitmaps) is set without a bitmaps extension: the next "
                              "allocating write by QEMU would mark the image corrupt");
        return 0;
    }
    list->has_ext = true;
    list->ext_offset = found->offset;
    list->ext_len = stored_length(&handle->image->exts);
    q2_bitmaps_ext_parse(found->data, &list->ext);
    if (!(handle->image->h.autoclear & QCBM_AUTOCLEAR_BITMAPS))
        return read_stale(handle, list, err);
    return read_all(handle, list, err);
}

static bool before_name(const void *elem, const void *name)
{
    const struct q2_bitmap_dirent *d = &(*(struct qcbmi_bitmap *const *)elem)->d;

    return qcbmi_compare_names(d->name, d->name_len, name, strlen(name)) < 0;
}

struct qcbmi_bitmap *qcbmi_bitmap_find(const struct qcbmi_bitmap_list *list, const char *name)
{
    size_t i = qcbmi_lower_bound(list->by_name, list->n, sizeof(struct qcbmi_bitmap *), before_name, name);
    const struct q2_bitmap_dirent *d = i < list->n ? &list->by_name[i]->d : NULL;

    return d && qcbmi_compare_names(d->name, d->name_len, name, strlen(name)) == 0 ? list->by_name[i] : NULL;
}

int qcbmi_bitmap_fail_not_found(const struct qcbm_image *handle, const char *name, struct qcbm_error *err)
{
    bool stale = handle->bitmaps->was && qcbmi_bitmap_find(handle->bitmaps->was, name);
    char text[256];

    return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "Dirty bitmap '%s' not found%s",
                      qcbmi_printable(text, sizeof(text), name, strlen(name)),
                      stale ? ": the one of that name is stale, a program that does not know bitmaps wrote to the image"
                            : "");
}

int qcbmi_bitmap_check_entry(const struct qcbmi_image *img, const struct qcbmi_bitmap *b, bool in_use_ok,
                             struct qcbm_error *err)
{
    struct q2_bitmap_size want;
    char text[256];
    int ret;

    if ((b->d.flags & Q2_BITMAP_IN_USE) && !in_use_ok)
        return qcbmi_fail(err, QCBM_E_INUSE, QCBM_NO_OFFSET, "Bitmap '%s' is inconsistent and cannot be used",
                          qcbmi_printable(text, sizeof(text), b->d.name, b->d.name_len));
    if (b->bad || b->shared) {
        if (err)
            *err = b->why;
        return QCBM_E_CORRUPT;
    }
    ret = q2_bitmap_size(img->g.sector_size_down, b->d.granularity_bits, img->g.cluster_size, &want, err);
    if (ret < 0)
        return ret;
    if (want.entries != b->d.table_entries) /* only an in-use bitmap passes the directory check like that */
        return qcbmi_fail(err, QCBM_E_CORRUPT, b->entry_offset,
                          "bitmap table of '%s' has %u entries, %" PRIu64 " are needed for the virtual size",
                          qcbmi_printable(text, sizeof(text), b->d.name, b->d.name_len), b->d.table_entries,
                          want.entries);
    return 0;
}
