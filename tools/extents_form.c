/* extents_form.c - the forms in which other programs write and read extents, by name
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "extents_form.h"

const char *const extents_form_names[N_EXTENTS_FORMS] = { "human",     "json", "jsonl",    "ovirt",    "csi",
                                                          "csi-lines", "rbd",  "xen-bits", "xen-json", "thin-delta" };

const char *const extent_descriptions[N_EXTENT_TYPES] = { "clean", "dirty", "clean,zero", "dirty,zero" };

enum extents_form extents_form_of(const char *name)
{
    unsigned i = 0;

    while (i < N_EXTENTS_FORMS && strcmp(name, extents_form_names[i]) != 0)
        i++;
    return (enum extents_form)i;
}
