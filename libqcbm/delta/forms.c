/* forms.c - the forms that a delta can have
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "delta/delta.h"

/* In the order in which they are looked for: the first bytes of a raw disk may be anything, but it has a map beside
 * it. */
static const struct qcbmi_delta_form *const forms[] = { &qcbmi_delta_raw_map, &qcbmi_delta_qcow2, &qcbmi_delta_rbd,
                                                        &qcbmi_delta_vnb };

const struct qcbmi_delta_form *qcbmi_delta_form_at(size_t i)
{
    return i < sizeof(forms) / sizeof(forms[0]) ? forms[i] : NULL;
}

const struct qcbmi_delta_form *qcbmi_delta_form_named(const char *name)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(forms[i]->name, name) == 0)
            return forms[i];
    return NULL;
}
