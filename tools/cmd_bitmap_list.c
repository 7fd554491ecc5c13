/* cmd_bitmap_list.c - qcbm bitmap --list: every bitmap of an image, good or bad
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "cmd_bitmap_list.h"
#include "colour.h"
#include "qemu_text.h"

struct entry {
    struct qcbm_bitmap_info info;
    struct qcbm_bitmap_usage usage;
    struct qcbm_error *unreadable; /* why there is no usage; NULL if there is */
};

struct listing {
    const char *path;
    struct qcbm_image *img;
    struct qcbm_image_info image;
    struct entry *entries;
    uint32_t count;
    uint64_t size; /* virtual size as qemu counts it */
    /* Findings by bitmap: those of bitmap i are by_bitmap[start[i]] .. by_bitmap[start[i + 1] - 1]; those of no bitmap
     * come last, under i = count. A hostile image may have very many of both. */
    uint32_t *by_bitmap, *start;
};

/* ---- collecting ---------------------------------------------------------------------------------------- */

static int collect_entry(struct listing *list, uint32_t index)
{
    struct entry *e = &list->entries[index];
    struct qcbm_error err;

    if (list->image.bitmaps_stale) {
        qcbm_stale_bitmap_get(list->img, index, &e->info, sizeof e->info);
        return EXIT_DONE;
    }
    qcbm_bitmap_get(list->img, index, &e->info, sizeof e->info);
    if (qcbm_bitmap_usage(list->img, index, &e->usage, sizeof(e->usage), NULL, &err) == 0)
        return EXIT_DONE;
    e->unreadable = malloc(sizeof err);
    if (!e->unreadable)
        return cmd_error("no memory");
    *e->unreadable = err;
    return EXIT_DONE;
}

static uint32_t bucket_of(const struct listing *list, uint32_t finding)
{
    struct qcbm_finding f;

    qcbm_finding_get(list->img, finding, &f, sizeof f);
    return f.bitmap < list->count ? f.bitmap : list->count;
}

static int collect_findings(struct listing *list)
{
    uint32_t n = qcbm_finding_count(list->img);

    list->by_bitmap = calloc((size_t)n + 1, sizeof *list->by_bitmap);
    list->start = calloc((size_t)list->count + 3, sizeof *list->start);
    if (!list->by_bitmap || !list->start)
        return cmd_error("no memory");
    for (uint32_t i = 0; i < n; i++)
        list->start[bucket_of(list, i) + 2]++;
    for (uint32_t b = 0; b <= list->count; b++)
        list->start[b + 2] += list->start[b + 1];
    for (uint32_t i = 0; i < n; i++)
        list->by_bitmap[list->start[bucket_of(list, i) + 1]++] = i;
    return EXIT_DONE;
}

static int collect(struct listing *list, struct progress *progress)
{
    int code = EXIT_DONE;

    qcbm_image_get_info(list->img, &list->image, sizeof list->image);
    list->size = list->image.virtual_size & ~UINT64_C(511);
    list->count = list->image.bitmaps_stale ? list->image.stale_bitmap_count : list->image.bitmap_count;
    list->entries = calloc((size_t)list->count + 1, sizeof *list->entries);
    if (!list->entries) {
        list->count = 0;
        return cmd_error("no memory");
    }
    for (uint32_t i = 0; i < list->count && code == EXIT_DONE; i++) {
        code = collect_entry(list, i);
        progress_show(progress, i + 1, list->count);
    }
    progress_end(progress, code == EXIT_DONE);
    return code == EXIT_DONE ? collect_findings(list) : code;
}

static void listing_clear(struct listing *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        free(list->entries[i].unreadable);
    free(list->entries);
    free(list->by_bitmap);
    free(list->start);
}

/* ---- findings ------------------------------------------------------------------------------------------ */

typedef void finding_fn(void *opaque, const struct qcbm_problem *problem, uint64_t offset, const char *message);

/* Call @fn for each finding of bitmap @index (list->count: of no bitmap). If no error among them says why the bits
 * cannot be counted, the failure itself is one more. */
static void each_finding(const struct listing *list, uint32_t index, finding_fn *fn, void *opaque)
{
    bool explained = false;
    struct qcbm_finding f;

    for (uint32_t i = list->start[index]; i < list->start[index + 1]; i++) {
        qcbm_finding_get(list->img, list->by_bitmap[i], &f, sizeof f);
        fn(opaque, f.problem, f.offset, f.message);
        explained = explained || f.problem->severity != QCBM_CHECK_WARNING;
    }
    if (index < list->count && list->entries[index].unreadable && !explained) {
        const struct qcbm_error *err = list->entries[index].unreadable;
        fn(opaque, qcbm_problem_get(QCBM_PROBLEM_BITMAP_UNREADABLE), err->offset, err->message);
    }
}

static const char *severity_name(const struct qcbm_problem *problem)
{
    return problem->severity == QCBM_CHECK_WARNING ? "warning" : "error";
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void write_finding(void *opaque, const struct qcbm_problem *problem, uint64_t offset, const char *message)
{
    struct json_writer *w = opaque;

    json_begin_object(w, NULL);
    json_string(w, "code", problem->code);
    json_string(w, "severity", severity_name(problem));
    if (offset == QCBM_NO_OFFSET)
        json_null(w, "offset");
    else
        json_u64(w, "offset", offset);
    json_string(w, "message", message);
    json_end_object(w);
}

static void write_findings(const struct listing *list, uint32_t index, struct json_writer *w)
{
    json_begin_array(w, "findings");
    each_finding(list, index, write_finding, w);
    json_end_array(w);
}

static void write_flags(const struct qcbm_bitmap_info *info, struct json_writer *w)
{
    json_begin_array(w, "flags");
    if (info->in_use)
        json_string(w, NULL, "in-use");
    if (info->enabled)
        json_string(w, NULL, "auto");
    if (info->flags & 1u << 2)
        json_string(w, NULL, "extra-data-compatible");
    json_end_array(w);
}

static void write_number(struct json_writer *w, const char *key, bool known, uint64_t value)
{
    if (known)
        json_u64(w, key, value);
    else
        json_null(w, key);
}

/* What a stale bitmap named is somebody else's by now, or nobody's. */
static bool is_known(const struct listing *list, const struct entry *e)
{
    return !e->unreadable && !list->image.bitmaps_stale;
}

static double share(const struct listing *list, const struct entry *e)
{
    return list->size ? (double)e->usage.dirty_bytes / (double)list->size : 0;
}

static void write_entry(const struct listing *list, uint32_t index, struct json_writer *w)
{
    const struct entry *e = &list->entries[index];
    const struct qcbm_bitmap_info *info = &e->info;
    bool known = is_known(list, e), trusted = known && !info->in_use;

    json_begin_object(w, NULL);
    json_bytes(w, "name", info->name, info->name_len);
    json_u64(w, "granularity", info->granularity);
    write_flags(info, w);
    json_bool(w, "consistent", !info->in_use && !list->image.bitmaps_stale);
    json_bool(w, "stale", list->image.bitmaps_stale);
    json_bool(w, "enabled", info->enabled);
    write_number(w, "granules", known, e->usage.granules);
    write_number(w, "dirty-granules", trusted, e->usage.dirty_granules);
    write_number(w, "dirty-bytes", trusted, e->usage.dirty_bytes);
    if (trusted)
        json_fixed(w, "dirty-share", share(list, e), 6);
    else
        json_null(w, "dirty-share");
    write_number(w, "disk-bytes", known, e->usage.disk_bytes);
    json_u64(w, "extra-data-size", info->extra_data_size);
    if (info->extra_data && info->extra_data_size > 0)
        json_hex(w, "extra-data", info->extra_data, info->extra_data_size);
    write_findings(list, index, w);
    json_end_object(w);
}

static void write_json(const struct listing *list, struct json_writer *w)
{
    json_begin_object(w, NULL);
    json_string(w, "image", list->path);
    json_string(w, "format", "qcow2");
    json_u64(w, "virtual-size", list->size);
    json_begin_array(w, "bitmaps");
    for (uint32_t i = 0; i < list->count; i++)
        write_entry(list, i, w);
    json_end_array(w);
    json_bool(w, "stale", list->image.bitmaps_stale);
    write_findings(list, list->count, w);
    json_end_object(w);
}

/* ---- text ---------------------------------------------------------------------------------------------- */

static size_t name_width(const struct listing *list)
{
    size_t width = 4;

    for (uint32_t i = 0; i < list->count; i++) {
        size_t columns = escaped_columns(list->entries[i].info.name, list->entries[i].info.name_len);

        if (columns > width)
            width = columns;
    }
    return width < 40 ? width : 40; /* longer names push their line */
}

static bool is_damaged(const struct listing *list, uint32_t index)
{
    struct qcbm_finding f;

    for (uint32_t i = list->start[index]; i < list->start[index + 1]; i++) {
        qcbm_finding_get(list->img, list->by_bitmap[i], &f, sizeof f);
        if (f.problem->severity != QCBM_CHECK_WARNING)
            return true;
    }
    return list->entries[index].unreadable;
}

static const char *state_name(const struct listing *list, uint32_t index)
{
    if (list->image.bitmaps_stale)
        return "stale";
    if (is_damaged(list, index))
        return "damaged";
    return list->entries[index].info.in_use ? "in use" : "consistent";
}

static void print_entry(const struct listing *list, uint32_t index, size_t width)
{
    const struct entry *e = &list->entries[index];
    const struct qcbm_bitmap_info *info = &e->info;
    char percent[16];
    bool known = is_known(list, e);
    bool trusted = known && !info->in_use; /* what a bitmap in use will have is in its program's memory */

    print_escaped(stdout, info->name, info->name_len);
    for (size_t used = escaped_columns(info->name, info->name_len); used < width; used++)
        putchar(' ');
    printf("  %11s", info->granularity ? size_text(info->granularity).text : "?");
    printf("  %-8s  %-12s", info->enabled ? "enabled" : "disabled", state_name(list, index));
    snprintf(percent, sizeof percent, "%.2f %%", 100 * share(list, e));
    printf("  %9s  %8s", trusted ? size_text(e->usage.dirty_bytes).text : "?", trusted ? percent : "?");
    printf("  %9s\n", known ? size_text(e->usage.disk_bytes).text : "?");
}

struct print_context {
    const struct qcbm_bitmap_info *info; /* NULL: of no bitmap */
    uint32_t index;
};

/* One without a name by its index, as 'qcbm edit' and 'qcbm dump' have it. */
static void print_whose(const struct print_context *context)
{
    if (!context->info)
        return;
    if (context->info->name_len > 0)
        print_escaped(stdout, context->info->name, context->info->name_len);
    else
        printf("bitmap %" PRIu32, context->index);
    printf(": ");
}

static void print_finding(void *opaque, const struct qcbm_problem *problem, uint64_t offset, const char *message)
{
    const struct print_context *context = opaque;

    print_whose(context);
    colour_word(stdout, problem->severity == QCBM_CHECK_WARNING ? TONE_WARNING : TONE_ERROR, severity_name(problem));
    printf(": ");
    print_escaped(stdout, message, strlen(message));
    if (offset != QCBM_NO_OFFSET)
        printf(" (at offset 0x%" PRIx64 ")", offset);
    printf(" [%s]\n", problem->code);
}

/* After a crash: of the mark alone nobody knows whether a program has the image open. */
static void hint_revive(const struct listing *list)
{
    bool in_use = false;
    char *name;

    for (uint32_t i = 0; i < list->count; i++)
        in_use |= list->entries[i].info.in_use && !list->image.bitmaps_stale;
    if (!in_use)
        return;
    name = shell_name(list->path);
    cmd_hint("if no program has the image open, 'qcbm bitmap --revive-all %s' makes bitmaps in use usable again",
             name ? name : "FILE");
    free(name);
}

static void print_text(const struct listing *list)
{
    size_t width = name_width(list);
    struct print_context context = { NULL, 0 };

    if (list->count > 0)
        printf("%-*s  GRANULARITY  STATE     %-12s  %9s  %8s  %9s\n", (int)width, "NAME", "", "DIRTY", "SHARE",
               "ON DISK");
    for (uint32_t i = 0; i < list->count; i++)
        print_entry(list, i, width);
    each_finding(list, list->count, print_finding, &context);
    for (uint32_t i = 0; i < list->count; i++) {
        context = (struct print_context){ &list->entries[i].info, i };
        each_finding(list, i, print_finding, &context);
    }
    fflush(stdout);
    hint_revive(list);
}

int bitmap_list_image(struct qcbm_image *img, const char *path, struct progress *progress, struct json_writer *w)
{
    struct listing list = { .path = path, .img = img };
    int code = collect(&list, progress);

    if (code == EXIT_DONE && w)
        write_json(&list, w);
    else if (code == EXIT_DONE)
        print_text(&list);
    listing_clear(&list);
    return code;
}
