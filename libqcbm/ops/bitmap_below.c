/* bitmap_below.c - does a bitmap begin in this layer, or in one below it?
 * SPDX-License-Identifier: MIT
 *
 * A checkpoint goes on in a new overlay with an empty bitmap of the same name, as libvirt does it, and as qcbm does. */
#include "ops/bitmap_below.h"

#include <string.h>

#include "base/error.h"
#include "bitmap/bitmap_list.h"

static int look_into(const struct qcbmi_layer *l, const char *name, bool *has, struct qcbm_error *err)
{
    struct qcbm_image handle = { .image = l->img };
    int ret = qcbmi_bitmap_list_load(&handle, err);

    *has = ret == 0 && qcbmi_bitmap_find(handle.bitmaps, name) != NULL;
    qcbmi_handle_clear(&handle);
    return ret;
}

int qcbmi_bitmap_refuse_below(const struct qcbmi_chain *chain, const char *name, const char *instead,
                              struct qcbm_error *err)
{
    char text[160], file[160];
    bool has = false;
    int ret = 0;

    for (size_t i = 1; ret == 0 && i < chain->n; i++) {
        const struct qcbmi_layer *l = &chain->layers[i];

        if (l->img)
            ret = look_into(l, name, &has, err);
        if (ret == 0 && has)
            return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                              "'%s' below it has a bitmap '%s', too, and what that one says would be missing: %s",
                              qcbmi_printable(file, sizeof(file), l->filename, strlen(l->filename)),
                              qcbmi_printable(text, sizeof(text), name, strlen(name)), instead);
    }
    return ret;
}
