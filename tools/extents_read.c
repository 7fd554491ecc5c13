/* extents_read.c - extents in the forms of other programs, read
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "extents_reader.h"

static const struct form {
    extents_form_fn *read;
    const char *what; /* it is not, if it does not read as one */
    bool sparse;
} forms[N_EXTENTS_FORMS] = {
    [EXTENTS_HUMAN] = { extents_read_human, "no lines of extents", false },
    [EXTENTS_JSON] = { extents_read_list, "no list of objects in JSON", false },
    [EXTENTS_JSONL] = { extents_read_lines, "no lines of objects in JSON", false },
    [EXTENTS_OVIRT] = { extents_read_list, "no list of objects in JSON", false },
    [EXTENTS_CSI] = { extents_read_csi, "no list of messages in JSON", true },
    [EXTENTS_CSI_LINES] = { extents_read_csi_lines, "no lines of messages in JSON", true },
    [EXTENTS_RBD] = { extents_read_list, "no list of objects in JSON", true },
    [EXTENTS_XEN_BITS] = { extents_read_xen_bits, "no bits", true },
    [EXTENTS_XEN_JSON] = { extents_read_xen_json, "no object in JSON", true },
    [EXTENTS_THIN_DELTA] = { extents_read_thin_delta, "no XML of thin_delta", true },
};

static int read_all(struct extents_reader *r, const struct form *form)
{
    int ret = form->read(r);

    if (ret == 0 && !form->sparse && r->end != r->from->size)
        ret = text_in_fail(&r->text, "the extents end at %" PRIu64 ", the disk has %" PRIu64 " bytes", r->end,
                           r->from->size);
    return ret;
}

int extents_read(const struct extents_in *from, extents_read_fn *fn, void *opaque, struct qcbm_error *err)
{
    const struct form *form = &forms[from->form];
    struct extents_reader *r = malloc(sizeof *r);
    int ret;

    if (!r) {
        *err = (struct qcbm_error){ .code = QCBM_E_NOMEM, .offset = QCBM_NO_OFFSET, .message = "no memory" };
        return QCBM_E_NOMEM;
    }
    r->from = from;
    r->fn = fn;
    r->opaque = opaque;
    r->sparse = form->sparse;
    r->end = 0;
    text_in_begin(&r->text, from->in, form->what, err);
    ret = read_all(r, form);
    free(r);
    return ret;
}
