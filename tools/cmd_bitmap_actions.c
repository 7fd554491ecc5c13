/* cmd_bitmap_actions.c - the operations of qcbm bitmap on one bitmap, and what is told of them
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "qemu_text.h"

int bitmap_fail(struct qcbm_error *err, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    *err = (struct qcbm_error){ .code = code, .offset = QCBM_NO_OFFSET };
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

enum verb {
    VERB_ADD,
    VERB_REMOVE,
    VERB_CLEAR,
    VERB_ENABLE,
    VERB_DISABLE,
    VERB_MERGE,
    VERB_RENAME, /* from here on qemu-img has no such operation, and we tell what was done */
    VERB_ROTATE,
    VERB_INTERSECT,
    VERB_SUBTRACT,
    VERB_REGRANULARISE,
    VERB_SET,
    VERB_UNSET,
    VERB_IMPORT,
    N_VERBS
};

static enum verb verb_of(const struct opt_action *action)
{
    static const char *const names[N_VERBS] = { "add",           "remove", "clear",  "enable",    "disable",
                                                "merge",         "rename", "rotate", "intersect", "subtract",
                                                "regranularise", "set",    "unset",  "import" };
    int verb = 0;

    while (verb < N_VERBS - 1 && strcmp(names[verb], action->opt->name) != 0)
        verb++;
    return (enum verb)verb;
}

/* ---- values -------------------------------------------------------------------------------------------- */

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

bool bitmap_actions_valid(const struct opt_actions *actions)
{
    for (size_t i = 0; i < actions->count; i++) {
        const char *value = actions->list[i].value;
        enum verb verb = verb_of(&actions->list[i]);
        uint64_t a, b;

        if (verb == VERB_REGRANULARISE && (size_parse(value, &a) != SIZE_OK || a == 0)) {
            cmd_error("Invalid granularity '%s' for --regranularise", value);
            return false;
        }
        if ((verb == VERB_SET || verb == VERB_UNSET) && !parse_range(value, &a, &b)) {
            cmd_error("Invalid range '%s' for --%s: OFFSET:LENGTH is expected, and some length", value,
                      actions->list[i].opt->name);
            return false;
        }
    }
    return true;
}

/* ---- the operations ------------------------------------------------------------------------------------ */

static int regranularise(struct bitmap_job *job, const char *value, struct qcbm_error *err)
{
    uint64_t granularity = 0;

    (void)size_parse(value, &granularity); /* bitmap_actions_valid() has seen it */
    return qcbm_edit_regranularise(job->edit, job->name, granularity, err);
}

static int change_range(struct bitmap_job *job, const char *value, bool dirty, struct qcbm_error *err)
{
    uint64_t offset = 0, length = 0;

    (void)parse_range(value, &offset, &length);
    return (dirty ? qcbm_edit_set_range : qcbm_edit_unset_range)(job->edit, job->name, offset, length, err);
}

static int rename_bitmap(struct bitmap_job *job, const char *value, struct qcbm_error *err)
{
    int ret = qcbm_edit_rename(job->edit, job->name, value, err);

    if (ret == 0)
        job->name = value; /* what follows is about the same bitmap */
    return ret;
}

static int run(struct bitmap_job *job, enum verb verb, const struct opt_action *action, struct bitmap_result *result,
               struct qcbm_error *err)
{
    struct qcbm_edit *edit = job->edit;
    const char *value = action->value;

    switch (verb) {
    case VERB_ADD:
        return qcbm_edit_add(edit, job->name, job->args->granularity, 0, err);
    case VERB_REMOVE:
        return qcbm_edit_remove(edit, job->name, err);
    case VERB_CLEAR:
        return qcbm_edit_clear(edit, job->name, err);
    case VERB_ENABLE:
        return qcbm_edit_enable(edit, job->name, err);
    case VERB_DISABLE:
        return qcbm_edit_disable(edit, job->name, err);
    case VERB_MERGE:
        return qcbm_edit_merge(edit, job->name, job->source, value, err);
    case VERB_RENAME:
        return rename_bitmap(job, value, err);
    case VERB_ROTATE:
        return qcbm_edit_rotate(edit, job->name, value, err);
    case VERB_INTERSECT:
        return qcbm_edit_intersect(edit, job->name, job->source, value, err);
    case VERB_SUBTRACT:
        return qcbm_edit_subtract(edit, job->name, job->source, value, err);
    case VERB_REGRANULARISE:
        return regranularise(job, value, err);
    case VERB_SET:
    case VERB_UNSET:
        return change_range(job, value, verb == VERB_SET, err);
    default:
        return bitmap_import(job, action, result, err);
    }
}

int bitmap_do_action(struct bitmap_job *job, const struct opt_action *action, struct qcbm_error *err)
{
    enum verb verb = verb_of(action);
    struct bitmap_result result = { .action = action };
    const char *name = job->name;
    int ret = run(job, verb, action, &result, err);

    if (ret < 0 || verb < VERB_RENAME)
        return ret;
    if (verb != VERB_RENAME) { /* which does not look at the bits */
        ret = qcbm_edit_look(job->edit, job->name, &result.figures, sizeof result.figures, err);
        result.has_figures = true;
    }
    if (ret == 0) {
        result.name = strdup(name);
        if (!result.name)
            return bitmap_fail(err, QCBM_E_NOMEM, "no memory");
        job->results[job->n_results++] = result;
    }
    return ret;
}

/* ---- what is told -------------------------------------------------------------------------------------- */

static void print_name(const char *name)
{
    putchar('\'');
    print_escaped(stdout, name, strlen(name));
    putchar('\'');
}

static void print_result(const struct bitmap_result *r)
{
    printf("%s: ", r->action->opt->name);
    print_name(r->name);
    if (r->has_figures)
        printf(" has %s dirty, granularity %s", size_text(r->figures.dirty_bytes).text,
               size_text(r->figures.granularity).text);
    if (verb_of(r->action) == VERB_RENAME || verb_of(r->action) == VERB_ROTATE) {
        printf(r->has_figures ? "; it is frozen now, and " : " is now ");
        print_name(r->action->value);
        printf(r->has_figures ? " records" : "");
    }
    if (r->has_fingerprint && r->fingerprint != QCBM_FINGERPRINT_EQUAL)
        printf("; %s", r->fingerprint == QCBM_FINGERPRINT_DIFFERENT ? "the disk begins differently, as forced"
                                                                    : "whether it is the same disk could not be told");
    if (r->bit_order)
        printf("; %s", bitmap_bit_order_text(r->bit_order));
    putchar('\n');
}

void bitmap_results_print(const struct bitmap_job *job)
{
    for (size_t i = 0; i < job->n_results; i++)
        print_result(&job->results[i]);
}

static void write_result(const struct bitmap_result *r, struct json_writer *w)
{
    static const char *const fingerprints[] = { "unknown", "equal", "different" };

    json_begin_object(w, NULL);
    json_string(w, "operation", r->action->opt->name);
    json_string(w, "value", r->action->value);
    json_string(w, "bitmap", r->name);
    if (r->has_figures) {
        json_u64(w, "granularity", r->figures.granularity);
        json_bool(w, "enabled", r->figures.enabled);
        json_u64(w, "granules", r->figures.granules);
        json_u64(w, "dirty-granules", r->figures.dirty_granules);
        json_u64(w, "dirty-bytes", r->figures.dirty_bytes);
    }
    if (r->has_fingerprint)
        json_string(w, "fingerprint", fingerprints[r->fingerprint]);
    if (r->bit_order)
        json_string(w, "bit-order", r->bit_order);
    json_end_object(w);
}

void bitmap_results_json(const struct bitmap_job *job, struct json_writer *w)
{
    json_begin_array(w, "results");
    for (size_t i = 0; i < job->n_results; i++)
        write_result(&job->results[i], w);
    json_end_array(w);
}

void bitmap_results_free(struct bitmap_job *job)
{
    for (size_t i = 0; i < job->n_results; i++)
        free(job->results[i].name);
    free(job->results);
    job->results = NULL;
    job->n_results = 0;
}
