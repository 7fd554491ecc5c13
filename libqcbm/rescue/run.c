/* run.c - what a rescue knows: begun, and given up
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/checked.h"
#include "rescue/rescue.h"

void qcbmi_rescue_begin(struct qcbmi_rescue *r, struct qcbmi_image *img, struct qcbm_image *handle)
{
    *r = (struct qcbmi_rescue){ .img = img, .g = &img->g, .handle = handle, .least = 100 };
    r->n_clusters = div_up(img->io.size, img->g.cluster_size);
    qcbmi_holes_init(&r->holes, &img->io);
}

void qcbmi_rescue_free(struct qcbmi_rescue *r)
{
    qcbmi_counts_free(&r->stored);
    qcbmi_counts_free(&r->named);
    qcbmi_bitset_free(&r->meta);
    qcbmi_holes_free(&r->holes);
    for (size_t i = 0; i < r->n_rebuilt; i++) {
        free(r->rebuilt[i].table);
        free(r->rebuilt[i].score);
    }
    free(r->rebuilt);
    free(r->snap);
    free(r->slots);
    free(r->found);
}
