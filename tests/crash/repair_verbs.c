/* repair_verbs.c - what mends a damaged image: a table
 * SPDX-License-Identifier: MIT
 *
 * A further one is a function and a row. The images have bitmaps b0 and b1 as a rule. */
#include "repair_verbs.h"

static int repair(struct qcbm_image *img, enum qcbm_repair_level level, unsigned flags, struct qcbm_error *err)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_repair_result result;

    o.level = level;
    o.flags = flags;
    return qcbm_repair(img, &o, &result, sizeof(result), err);
}

static int repair_all(struct qcbm_image *img, unsigned flags, struct qcbm_error *err)
{
    return repair(img, QCBM_REPAIR_ALL, flags, err);
}

static int repair_bitmaps(struct qcbm_image *img, unsigned flags, struct qcbm_error *err)
{
    (void)flags;
    return repair(img, QCBM_REPAIR_BITMAPS, 0, err);
}

static int repair_leaks(struct qcbm_image *img, unsigned flags, struct qcbm_error *err)
{
    return repair(img, QCBM_REPAIR_LEAKS, flags, err);
}

static int remove_one(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    int ret = qcbm_edit_remove(edit, "b1", err);

    (void)img;
    return ret == QCBM_E_NOTFOUND ? 0 : ret; /* it was removed before the cut */
}

static int remove_both(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    int ret = qcbm_edit_remove(edit, "b0", err);

    return ret == 0 || ret == QCBM_E_NOTFOUND ? remove_one(edit, img, err) : ret;
}

static int revive_all(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_revive(edit, NULL, 0, NULL, NULL, err);
}

static int synth_again(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.granularity = 4096;
    opt.flags = QCBM_SYNTH_REPLACE | QCBM_SYNTH_FORCE;
    return qcbm_edit_synth(edit, img, "b0", &opt, NULL, err);
}

static int mend(struct qcbm_image *img, int (*change)(struct qcbm_edit *, struct qcbm_image *, struct qcbm_error *),
                struct qcbm_error *err)
{
    struct qcbm_edit *edit = NULL;
    int ret = qcbm_edit_begin_mending(img, NULL, NULL, &edit, err);

    if (ret == 0)
        ret = change(edit, img, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    return ret;
}

#define MENDS(name)                                                                                                    \
    static int mend_##name(struct qcbm_image *img, unsigned flags, struct qcbm_error *err)                             \
    {                                                                                                                  \
        (void)flags;                                                                                                   \
        return mend(img, name, err);                                                                                   \
    }
MENDS(remove_one)
MENDS(remove_both)
MENDS(revive_all)
MENDS(synth_again)

const struct repair_verb repair_verbs[] = {
    { "check -r all", repair_all, true, false, false },
    { "check -r bitmaps", repair_bitmaps, false, true, false },
    { "check -r leaks", repair_leaks, false, false, false },
    { "bitmap --remove", mend_remove_one, false, true, false },
    { "bitmap --prune", mend_remove_both, false, true, false },
    { "bitmap --revive-all", mend_revive_all, false, true, false },
    { "synth --replace", mend_synth_again, false, true, true },
};
const size_t repair_n_verbs = sizeof(repair_verbs) / sizeof(repair_verbs[0]);
