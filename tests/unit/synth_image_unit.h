/* synth_image_unit.h - what the unit tests of synth on one image share
 * SPDX-License-Identifier: MIT */
#ifndef SYNTH_IMAGE_UNIT_H
#define SYNTH_IMAGE_UNIT_H

#include "synth_unit.h"

/* The result says of the bitmap what the directory says after the commit. */
static inline void check_enabled(struct qcbm_image *img, const char *name, const struct qcbm_synth_result *r)
{
    struct qcbm_synth_summary sum;
    struct qcbm_bitmap_info b;
    uint32_t i = 0;

    do
        assert_int_equal(qcbm_bitmap_get(img, i++, &b, sizeof(b)), 0);
    while (strcmp(b.name, name) != 0);
    qcbm_synth_result_summary(r, &sum, sizeof(sum));
    assert_int_equal(sum.enabled, b.enabled);
}

/* Synthesise "new" in a session; the code. */
static inline int synth(struct session *s, const char *name, uint64_t granularity, unsigned flags,
                        struct qcbm_synth_summary *sum, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *r = NULL;
    int ret;

    opt.granularity = granularity;
    opt.flags = flags;
    ret = qcbm_synth(s->img, name, &opt, &r, err);
    assert_true((ret == 0) == (r != NULL));
    if (r)
        check_enabled(s->img, name, r);
    if (r && sum)
        qcbm_synth_result_summary(r, sum, sizeof(*sum));
    qcbm_synth_result_free(r);
    return ret;
}

#endif
