/* cmd_bitmap_actions.c - the operations of qcbm bitmap on one bitmap
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_bitmap_edit.h"
#include "qemu_text.h"

/* ---- without a value ----------------------------------------------------------------------------------- */

int bitmap_add(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    (void)result;
    return qcbm_edit_add(job->edit, job->name, job->args->granularity, 0, err);
}

int bitmap_remove(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    (void)result;
    return qcbm_edit_remove(job->edit, job->name, err);
}

int bitmap_clear(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    (void)result;
    return qcbm_edit_clear(job->edit, job->name, err);
}

int bitmap_enable(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    (void)result;
    return qcbm_edit_enable(job->edit, job->name, err);
}

int bitmap_disable(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    (void)result;
    return qcbm_edit_disable(job->edit, job->name, err);
}

/* ---- with another bitmap ------------------------------------------------------------------------------- */

int bitmap_merge(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    return (job->args->grown ? qcbm_edit_merge_grown : qcbm_edit_merge)(job->edit, job->name, job->source,
                                                                        result->action->value, err);
}

int bitmap_intersect(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    return qcbm_edit_intersect(job->edit, job->name, job->source, result->action->value, err);
}

int bitmap_subtract(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    return qcbm_edit_subtract(job->edit, job->name, job->source, result->action->value, err);
}

/* ---- with a new name ----------------------------------------------------------------------------------- */

int bitmap_rename(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    int ret = qcbm_edit_rename(job->edit, job->name, result->action->value, err);

    if (ret == 0)
        job->name = result->action->value; /* what follows is about the same bitmap */
    return ret;
}

int bitmap_rotate(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    return qcbm_edit_rotate(job->edit, job->name, result->action->value, err);
}

/* ---- with sizes: the values have been seen to be well-formed before an image is opened ------------------- */

bool bitmap_size_valid(const struct opt_action *action)
{
    uint64_t size;

    if (size_parse(action->value, &size) == SIZE_OK && size > 0)
        return true;
    cmd_error("Invalid granularity '%s' for --%s", action->value, action->opt->name);
    return false;
}

int bitmap_regranularise(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    uint64_t granularity = 0;

    (void)size_parse(result->action->value, &granularity);
    return qcbm_edit_regranularise(job->edit, job->name, granularity, err);
}

/* "OFFSET:LENGTH", sizes as everywhere. */
static bool parse_range(const char *text, uint64_t *offset, uint64_t *length)
{
    const char *colon = strchr(text, ':');
    char first[64];

    if (!colon || (size_t)(colon - text) >= sizeof first)
        return false;
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = '\0';
    return size_parse(first, offset) == SIZE_OK && size_parse(colon + 1, length) == SIZE_OK && *length > 0;
}

bool bitmap_range_valid(const struct opt_action *action)
{
    uint64_t offset, length;

    if (parse_range(action->value, &offset, &length))
        return true;
    cmd_error("Invalid range '%s' for --%s: OFFSET:LENGTH is expected, and a length above 0", action->value,
              action->opt->name);
    return false;
}

int bitmap_set(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    uint64_t offset = 0, length = 0;

    (void)parse_range(result->action->value, &offset, &length);
    return qcbm_edit_set_range(job->edit, job->name, offset, length, err);
}

int bitmap_unset(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    uint64_t offset = 0, length = 0;

    (void)parse_range(result->action->value, &offset, &length);
    return qcbm_edit_unset_range(job->edit, job->name, offset, length, err);
}
