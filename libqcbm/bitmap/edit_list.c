/* edit_list.c - the bitmaps of an edit: in the order of the new directory, and found by name
 * SPDX-License-Identifier: MIT */
#include "bitmap/edit_list.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static int by_name(const void *a, const void *b)
{
    const struct qcbmi_edit_bitmap *x = a, *y = b;

    return qcbmi_compare_names(x->name, x->name_len, y->name, y->name_len);
}

/* The first of a name in the tree; writable, so that another can take its place without memory. */
static struct qcbmi_edit_bitmap **node_of(const struct qcbmi_edit_list *list, const struct qcbmi_edit_bitmap *key)
{
    return tfind(key, (void *const *)&list->by_name, by_name);
}

static void free_bitmap(struct qcbmi_edit_bitmap *b)
{
    free(b->own_name);
    qcbmi_dirtymap_free(&b->map);
    free(b);
}

static void leave(void *unused)
{
    (void)unused;
}

void qcbmi_edit_list_free(struct qcbmi_edit_list *list)
{
    tdestroy(list->by_name, leave);
    for (size_t i = 0; i < list->n; i++)
        if (list->at[i])
            free_bitmap(list->at[i]);
    free(list->at);
    memset(list, 0, sizeof(*list));
}

static struct qcbmi_edit_bitmap *copy_of(const struct qcbmi_edit_bitmap *from, const char *name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b = qcbmi_alloc_array(1, sizeof(*b), err);

    if (!b)
        return NULL;
    *b = *from;
    b->next = NULL;
    b->last = b;
    b->own_name = NULL;
    if (name) {
        b->own_name = qcbmi_memdup_nul(name, strlen(name), err);
        b->name_len = strlen(name);
        b->name = b->own_name;
    } else {
        b->name = from->stored->name;
        b->name_len = from->stored->d.name_len;
    }
    if (b->name)
        return b;
    free(b);
    return NULL;
}

/* Put @b into the tree, or behind those that have its name. */
static int link_name(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap **node = tsearch(b, &list->by_name, by_name);

    if (!node)
        return qcbmi_fail_nomem(err);
    if (*node == b)
        return 0;
    (*node)->last->next = b;
    (*node)->last = b;
    return 0;
}

static void unlink_name(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b)
{
    if (!b->next) {
        tdelete(b, &list->by_name, by_name);
        return;
    }
    b->next->last = b->last;
    *node_of(list, b) = b->next;
}

int qcbmi_edit_list_add(struct qcbmi_edit_list *list, const struct qcbmi_edit_bitmap *from, const char *name,
                        struct qcbmi_edit_bitmap **out, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;

    if (list->n_gaps > list->n / 2)
        qcbmi_edit_list_close_gaps(list);
    if (qcbmi_grow_array(&list->at, &list->capacity, list->n, sizeof(b), err) < 0)
        return QCBM_E_NOMEM;
    b = copy_of(from, name, err);
    if (!b)
        return QCBM_E_NOMEM;
    if (link_name(list, b, err) < 0) {
        free(b->own_name);
        free(b);
        return QCBM_E_NOMEM;
    }
    b->place = list->n;
    list->at[list->n++] = b;
    *out = b;
    return 0;
}

struct qcbmi_edit_bitmap *qcbmi_edit_list_find(const struct qcbmi_edit_list *list, const char *name)
{
    struct qcbmi_edit_bitmap key = { .name = name, .name_len = strlen(name) }, **node = node_of(list, &key);

    return node ? *node : NULL;
}

bool qcbmi_edit_list_is_unique(const struct qcbmi_edit_list *list, const struct qcbmi_edit_bitmap *b)
{
    return *node_of(list, b) == b && !b->next;
}

void qcbmi_edit_list_remove(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b)
{
    unlink_name(list, b);
    list->at[b->place] = NULL;
    list->n_gaps++;
    free_bitmap(b);
}

int qcbmi_edit_list_rename(struct qcbmi_edit_list *list, struct qcbmi_edit_bitmap *b, const char *name,
                           struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *renamed = copy_of(b, name, err);

    if (!renamed || link_name(list, renamed, err) < 0) {
        free(renamed ? renamed->own_name : NULL);
        free(renamed);
        return QCBM_E_NOMEM;
    }
    unlink_name(list, b);
    list->at[b->place] = renamed; /* it has the bits now */
    free(b->own_name);
    free(b);
    return 0;
}

void qcbmi_edit_list_close_gaps(struct qcbmi_edit_list *list)
{
    size_t n = 0;

    for (size_t i = 0; i < list->n; i++) {
        if (!list->at[i])
            continue;
        list->at[i]->place = n;
        list->at[n++] = list->at[i];
    }
    list->n = n;
    list->n_gaps = 0;
}
