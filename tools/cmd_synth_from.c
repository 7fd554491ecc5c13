/* cmd_synth_from.c - qcbm synth --from: a bitmap of what an NBD server says of the disk, not of what OVERLAY has
 * allocated
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_synth.h"
#include "context.h"
#include "remote.h"

static int stage(struct synth_job *job, struct qcbm_error *err)
{
    const struct synth_args *args = job->args;
    int ret = args->replace ? qcbm_edit_remove(job->edit, args->name, err) : 0;

    if (ret == QCBM_E_NOTFOUND)
        ret = 0;
    if (ret == 0)
        ret = qcbm_edit_add(job->edit, args->name, args->granularity, args->disabled ? QCBM_BITMAP_DISABLED : 0, err);
    job->merged = ret == QCBM_E_EXISTS && args->merge;
    if (ret == 0 || job->merged)
        ret = context_mark(args->from, args->context, job->overlay, job->edit, args->name, err);
    return ret;
}

static int take_figures(struct synth_job *job, struct qcbm_error *err)
{
    struct qcbm_edit_bitmap_info look;
    struct qcbm_image_info image;
    int ret = qcbm_edit_look(job->edit, job->args->name, &look, sizeof look, err);

    if (ret < 0)
        return ret;
    qcbm_image_get_info(job->overlay, &image, sizeof image);
    job->summary = (struct qcbm_synth_summary){ .virtual_size = image.virtual_size,
                                                .granularity = look.granularity,
                                                .granules = look.granules,
                                                .dirty_granules = look.dirty_granules,
                                                .dirty_bytes = look.dirty_bytes,
                                                .enabled = look.enabled };
    job->enabled = look.enabled;
    return 0;
}

char *synth_from_claim(const struct synth_job *job)
{
    bool depth = context_kind_of(job->args->context) == CONTEXT_DEPTH;
    char *text = NULL;

    if (asprintf(&text, "%s of %s%s", depth ? "in the topmost layer" : "no hole of zeros in the disk", job->args->from,
                 job->merged ? ", or was dirty in the bitmap before" : "") < 0)
        return NULL;
    return text;
}

/* What an overlay has zeroed or discarded over data of its base is a hole of zeros, and has changed: an incremental
 * backup without it would bring the old bytes back. */
static bool may_miss_zeros(const struct synth_job *job)
{
    struct qcbm_image_info image;

    qcbm_image_get_info(job->overlay, &image, sizeof image);
    return context_kind_of(job->args->context) == CONTEXT_ALLOCATION && image.backing_file;
}

int synth_from(struct synth_job *job)
{
    const struct synth_args *args = job->args;
    struct qcbm_error err;

    if (may_miss_zeros(job)) {
        cmd_error("Could not make bitmap '%s' from '%s': '%s' has a backing file, and base:allocation tells nothing of "
                  "what was zeroed or discarded over data of it, which would be missing in the bitmap",
                  args->name, args->from, args->common.path);
        cmd_hint(
            "--context=qemu:allocation-depth has that too; so has 'qcbm synth OVERLAY NAME', which asks no server");
        return EXIT_FAILED;
    }
    if (qcbm_edit_begin(job->overlay, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    if (stage(job, &err) < 0 || take_figures(job, &err) < 0) {
        cmd_lib_error(&err, "Could not make bitmap '%s' from '%s'", args->name, args->from);
        if (err.code == QCBM_E_EXISTS)
            cmd_hint("--replace makes it anew, --merge adds to it");
        return EXIT_FAILED;
    }
    return synth_carry_out(job);
}
