/* since.c - the layers of a chain above a base that is named
 * SPDX-License-Identifier: MIT */
#include "ops/since.h"

#include <string.h>

#include "io/open.h"

static int find(const struct qcbmi_chain *chain, const struct qcbmi_file_id *id, const char *base, size_t *n_above,
                struct qcbm_error *err)
{
    char text[256];

    for (*n_above = 0; *n_above < chain->n; ++*n_above) {
        if (qcbmi_same_file(&chain->layers[*n_above].id, id))
            return 0;
    }
    return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "base '%s' is not in the backing chain (%zu layers)",
                      qcbmi_printable(text, sizeof(text), base, strlen(base)), chain->n);
}

/* Is the base one of the layers that the caller has named, by the same name? */
static bool is_named(const struct qcbmi_image *overlay, const char *base, size_t *n_above)
{
    for (*n_above = 1; *n_above <= overlay->n_below; ++*n_above) {
        if (strcmp(overlay->below[*n_above - 1].name, base) == 0)
            return true;
    }
    return false;
}

int qcbmi_since_open(struct qcbmi_image *overlay, const char *base, struct qcbmi_chain_options *options, bool whole,
                     struct qcbmi_chain *chain, size_t *n_above, struct qcbm_error *err)
{
    struct qcbmi_file_id id;
    char text[256];
    int ret;

    if (is_named(overlay, base, n_above)) {
        options->max_layers = whole ? 0 : *n_above + 1;
        return qcbmi_chain_open(overlay, options, chain, err);
    }
    if (!overlay->path && !overlay->n_below)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a base can be named for an image in a file only");
    ret = qcbmi_identify(base, &id, err);
    if (ret < 0)
        return qcbmi_prefix(err, ret,
                            overlay->n_below ? "base '%s', none of the layers that are named: " : "base '%s': ",
                            qcbmi_printable(text, sizeof(text), base, strlen(base)));
    if (qcbmi_same_file(&id, &overlay->io.id))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the base is the overlay itself");
    options->max_layers = 0;
    options->stop = whole ? NULL : &id;
    ret = qcbmi_chain_open(overlay, options, chain, err);
    return ret < 0 ? ret : find(chain, &id, base, n_above, err);
}
