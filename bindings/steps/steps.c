/* steps.c - the steps of steps.txt in C, one line of JSON each: what the other languages have to print as well
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: steps FILE, in a folder with the images of run.py */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qcbm.h>

#define MAX_WORDS 8

static FILE *out;

struct words {
    size_t n;
    char *w[MAX_WORDS];
};

static uint64_t number(const char *word)
{
    return strtoull(word, NULL, 10);
}

static const char *or_null(const char *word)
{
    return strcmp(word, "-") == 0 ? NULL : word;
}

static void text(const char *name, const char *value)
{
    if (value)
        fprintf(out, "\"%s\":\"%s\"", name, value);
    else
        fprintf(out, "\"%s\":null", name);
}

static void figure(const char *name, uint64_t value)
{
    fprintf(out, "\"%s\":%" PRIu64, name, value);
}

static void truth(const char *name, bool value)
{
    fprintf(out, "\"%s\":%s", name, value ? "true" : "false");
}

static void next(void)
{
    fputc(',', out);
}

static int info(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_image_info i;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], 0, &img, err);

    if (ret < 0)
        return ret;
    qcbm_image_get_info(img, &i, sizeof i);
    fprintf(out, "{\"version\":%u,", i.version);
    figure("virtual_size", i.virtual_size), next();
    figure("cluster_size", i.cluster_size), next();
    figure("refcount_bits", i.refcount_bits), next();
    figure("bitmaps", i.bitmap_count), next();
    figure("snapshots", i.snapshot_count), next();
    text("backing", i.backing_file);
    fputc('}', out);
    qcbm_close(img);
    return 0;
}

static int list(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_bitmap_usage usage;
    struct qcbm_bitmap_info b;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], 0, &img, err);

    if (ret < 0)
        return ret;
    fputc('[', out);
    for (uint32_t i = 0; ret == 0 && qcbm_bitmap_get(img, i, &b, sizeof b) == 0; i++) {
        ret = qcbm_bitmap_usage(img, i, &usage, sizeof usage, NULL, err);
        fputs(i > 0 ? ",{" : "{", out);
        text("name", b.name), next();
        figure("granularity", b.granularity), next();
        truth("enabled", b.enabled), next();
        truth("in_use", b.in_use), next();
        figure("dirty", usage.dirty_bytes);
        fputc('}', out);
    }
    fputc(']', out);
    qcbm_close(img);
    return ret;
}

/* Three at a time, so that there are several pages. */
static int print_extents(struct qcbm_extents *extents, struct qcbm_error *err)
{
    struct qcbm_extent page[3];
    const char *between = "";
    uint64_t from = 0;
    size_t got;
    int ret;

    fputc('[', out);
    while ((ret = qcbm_extents_fill(extents, from, page, sizeof page[0], 3, &got, &from, err)) == 0 && got > 0) {
        for (size_t i = 0; i < got; i++) {
            if (!page[i].dirty)
                continue;
            fprintf(out, "%s[%" PRIu64 ",%" PRIu64 ",%s]", between, page[i].offset, page[i].length,
                    page[i].zero ? "true" : "false");
            between = ",";
        }
    }
    fputc(']', out);
    return ret;
}

static int extents_of(const struct words *s, const char *bitmap, unsigned flags, struct qcbm_error *err)
{
    struct qcbm_extents_options options = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_extents *extents = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], 0, &img, err);

    if (ret < 0)
        return ret;
    options.flags = flags;
    ret = bitmap ? qcbm_extents_open(img, bitmap, &options, &extents, err)
                 : qcbm_extents_open_layers(img, NULL, &options, &extents, err);
    if (ret == 0)
        ret = print_extents(extents, err);
    qcbm_extents_close(extents);
    qcbm_close(img);
    return ret;
}

static int extents(const struct words *s, struct qcbm_error *err)
{
    return extents_of(s, s->w[2], (unsigned)number(s->w[3]), err);
}

static int layers(const struct words *s, struct qcbm_error *err)
{
    return extents_of(s, NULL, 0, err);
}

static void print_synth(struct qcbm_synth_result *r)
{
    struct qcbm_synth_summary sum;
    struct qcbm_synth_layer layer;

    qcbm_synth_result_summary(r, &sum, sizeof sum);
    fputc('{', out);
    figure("dirty", sum.dirty_bytes), next();
    figure("granules", sum.granules), next();
    figure("dirty_granules", sum.dirty_granules), next();
    figure("granularity", sum.granularity), next();
    fputs("\"layers\":[", out);
    for (uint32_t i = 0; qcbm_synth_result_layer(r, i, &layer, sizeof layer) == 0; i++)
        fprintf(out, "%s\"%s\"", i > 0 ? "," : "", layer.filename);
    fputs("],", out);
    figure("notes", sum.notes);
    fputc('}', out);
}

static int synth(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *result = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    options.granularity = number(s->w[3]);
    options.flags = (unsigned)number(s->w[4]);
    options.since = or_null(s->w[5]);
    ret = qcbm_synth(img, s->w[2], &options, &result, err);
    if (ret == 0)
        print_synth(result);
    qcbm_synth_result_free(result);
    qcbm_close(img);
    return ret;
}

static int change(struct qcbm_edit *edit, const struct words *s, struct qcbm_error *err)
{
    const char *verb = s->w[2], *name = s->w[3], *more = s->w[4];

    if (strcmp(verb, "add") == 0)
        return qcbm_edit_add(edit, name, number(more), 0, err);
    if (strcmp(verb, "remove") == 0)
        return qcbm_edit_remove(edit, name, err);
    if (strcmp(verb, "clear") == 0)
        return qcbm_edit_clear(edit, name, err);
    if (strcmp(verb, "enable") == 0)
        return qcbm_edit_enable(edit, name, err);
    if (strcmp(verb, "disable") == 0)
        return qcbm_edit_disable(edit, name, err);
    if (strcmp(verb, "rename") == 0)
        return qcbm_edit_rename(edit, name, more, err);
    if (strcmp(verb, "rotate") == 0)
        return qcbm_edit_rotate(edit, name, more, err);
    if (strcmp(verb, "merge") == 0)
        return qcbm_edit_merge(edit, name, NULL, more, err);
    return qcbm_edit_set_range(edit, name, number(more), number(s->w[5]), err);
}

static int edit(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_plan_summary plan;
    struct qcbm_edit *e = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &e, err);
    if (ret == 0)
        ret = change(e, s, err);
    if (ret == 0)
        ret = qcbm_edit_commit(e, &plan, sizeof plan, err);
    if (ret == 0) {
        fputc('{', out);
        figure("writes", plan.writes), next();
        figure("flushes", plan.flushes), next();
        figure("bytes", plan.bytes_written);
        fputc('}', out);
    }
    qcbm_edit_free(e);
    qcbm_close(img);
    return ret;
}

static int check(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_check_result r;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], 0, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_check(img, NULL, &r, sizeof r, err);
    if (ret == 0) {
        fputc('{', out);
        figure("corruptions", r.corruptions), next();
        figure("leaks", r.leaks), next();
        figure("errors", r.check_errors), next();
        figure("allocated", r.allocated_clusters), next();
        figure("total", r.total_clusters);
        fputc('}', out);
    }
    qcbm_close(img);
    return ret;
}

static int delta(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_delta_options options = QCBM_DELTA_OPTIONS_INIT;
    struct qcbm_delta_result r;
    struct qcbm_image *img;
    int ret = qcbm_open(s->w[1], 0, &img, err);

    if (ret < 0)
        return ret;
    options.bitmap = s->w[3];
    options.id = s->w[4];
    options.parent_id = or_null(s->w[5]);
    options.created = 1;
    ret = qcbm_delta(img, s->w[2], -1, &options, &r, sizeof r, err);
    if (ret == 0) {
        fputc('{', out);
        text("id", r.id), next();
        text("parent", r.parent_id), next();
        figure("size", r.size_after), next();
        figure("data", r.data_bytes), next();
        figure("zero", r.zero_bytes), next();
        text("digest", r.digest);
        fputc('}', out);
    }
    qcbm_close(img);
    return ret;
}

static int delta_info(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_delta_info i;
    int ret = qcbm_delta_get_info(s->w[1], QCBM_DELTA_VERIFY, NULL, &i, sizeof i, err);

    if (ret < 0)
        return ret;
    fputc('{', out);
    text("form", i.form), next();
    text("id", i.id), next();
    text("parent", i.parent_id), next();
    text("digest", i.digest), next();
    figure("records", i.records), next();
    figure("data", i.data_bytes), next();
    figure("zero", i.zero_bytes), next();
    text("bitmap", i.bitmap);
    fputc('}', out);
    return 0;
}

static int merge(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_delta_merge_result r;
    int ret = qcbm_delta_merge((const char *const *)s->w + 2, s->n - 2, s->w[1], -1, NULL, &r, sizeof r, err);

    if (ret < 0)
        return ret;
    fputc('{', out);
    text("id", r.id), next();
    text("parent", r.parent_id), next();
    text("digest", r.digest);
    fputc('}', out);
    return 0;
}

static int apply(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_apply_options options = QCBM_APPLY_OPTIONS_INIT;
    struct qcbm_apply_result r;
    int ret;

    options.base_format = s->w[2];
    ret = qcbm_apply(s->w[1], (const char *const *)s->w + 3, s->n - 3, &options, &r, sizeof r, err);
    if (ret < 0)
        return ret;
    fputc('{', out);
    figure("applied", r.applied), next();
    figure("already", r.already), next();
    figure("data", r.data_bytes), next();
    figure("zero", r.zero_bytes), next();
    text("id", r.id);
    fputc('}', out);
    return 0;
}

/* Words "vda=FILE", which are cut in two. */
static size_t disks_of(const struct words *s, struct qcbm_checkpoint_disk *disks)
{
    for (size_t i = 2; i < s->n; i++) {
        char *image = strchr(s->w[i], '=');

        *image = '\0';
        disks[i - 2] = (struct qcbm_checkpoint_disk){ .target = s->w[i], .image = image + 1 };
    }
    return s->n - 2;
}

static int checkpoint(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_checkpoint_disk disks[MAX_WORDS];
    struct qcbm_checkpoint_result r;
    int ret = qcbm_checkpoint_create(s->w[1], disks, sizeof disks[0], disks_of(s, disks), NULL, &r, sizeof r, err);

    if (ret < 0)
        return ret;
    fputc('{', out);
    figure("disks", r.disks), next();
    figure("created", r.created), next();
    figure("there", r.there);
    fputc('}', out);
    return 0;
}

static void print_rows(struct qcbm_checkpoint_report *report)
{
    struct qcbm_checkpoint_row row;

    fputc('[', out);
    for (uint32_t i = 0; qcbm_checkpoint_report_row(report, i, &row, sizeof row) == 0; i++) {
        fputs(i > 0 ? ",{" : "{", out);
        text("name", row.checkpoint), next();
        text("disk", row.disk), next();
        text("reason", qcbm_checkpoint_reason_name(row.reason)), next();
        figure("layers", row.layers), next();
        if (row.dirty_bytes == QCBM_UNKNOWN)
            text("dirty", NULL);
        else
            figure("dirty", row.dirty_bytes);
        fputc('}', out);
    }
    fputc(']', out);
}

static int verify(const struct words *s, struct qcbm_error *err)
{
    struct qcbm_checkpoint_verify_options options = QCBM_CHECKPOINT_VERIFY_OPTIONS_INIT;
    struct qcbm_checkpoint_disk disks[MAX_WORDS];
    struct qcbm_checkpoint_report *report;
    const char *name = s->w[1];
    int ret;

    options.names = &name;
    options.n_names = 1;
    ret = qcbm_checkpoint_verify(disks, sizeof disks[0], disks_of(s, disks), &options, &report, err);
    if (ret < 0)
        return ret;
    print_rows(report);
    qcbm_checkpoint_report_free(report);
    return 0;
}

static const struct {
    const char *name;
    int (*fn)(const struct words *s, struct qcbm_error *err);
} verbs[] = { { "info", info },     { "list", list },   { "extents", extents },
              { "layers", layers }, { "synth", synth }, { "edit", edit },
              { "check", check },   { "delta", delta }, { "delta-info", delta_info },
              { "merge", merge },   { "apply", apply }, { "checkpoint", checkpoint },
              { "verify", verify } };

static int run(const struct words *s, struct qcbm_error *err)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(s->w[0], verbs[i].name) == 0)
            return verbs[i].fn(s, err);
    }
    fprintf(stderr, "steps: %s?\n", s->w[0]);
    exit(2);
}

/* {"step":LINE,"result":...} or {"step":LINE,"error":...}: what had been printed of a result before it failed is
 * gone. */
static void step(char *line)
{
    struct words s = { 0, { NULL } };
    struct qcbm_error err;
    char *result = NULL;
    size_t len;
    int ret;

    line[strcspn(line, "\n")] = '\0';
    printf("{\"step\":\"%s\",", line);
    for (char *word = strtok(line, " "); word && s.n < MAX_WORDS - 1; word = strtok(NULL, " "))
        s.w[s.n++] = word;
    out = open_memstream(&result, &len);
    if (!out)
        exit(1);
    ret = run(&s, &err);
    fclose(out);
    if (ret == 0)
        printf("\"result\":%s}\n", result);
    else if (err.offset == QCBM_NO_OFFSET)
        printf("\"error\":\"%s\",\"offset\":null,\"message\":\"%s\"}\n", qcbm_code_name(err.code), err.message);
    else
        printf("\"error\":\"%s\",\"offset\":%" PRIu64 ",\"message\":\"%s\"}\n", qcbm_code_name(err.code), err.offset,
               err.message);
    free(result);
}

int main(int argc, char **argv)
{
    char line[512];
    FILE *file;

    if (argc != 2 || !(file = fopen(argv[1], "r")))
        return 2;
    while (fgets(line, sizeof line, file))
        step(line);
    fclose(file);
    return 0;
}
