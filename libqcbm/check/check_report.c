/* check_report.c - the findings of a check, kept to be given out page by page
 * SPDX-License-Identifier: MIT */
#include "check/check_report.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/page.h"
#include "base/sized.h"

#define OVERHEAD 16u /* of an allocation, about */
/* A growing list has up to twice the room that it needs. */
#define REPORT_ITEM (2 * sizeof(struct qcbmi_kept_finding))

static size_t stored_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Copy @text to *@at, which moves behind it. */
static const char *put_text(char **at, const char *text)
{
    char *copy = *at;

    if (!text)
        return NULL;
    memcpy(copy, text, stored_bytes(text));
    *at += stored_bytes(text);
    return copy;
}

int qcbmi_check_report_keep(struct qcbm_check_report *report, const struct qcbm_check_finding *f,
                            struct qcbm_error *err)
{
    size_t text = stored_bytes(f->message) + stored_bytes(f->table) + stored_bytes(f->hint);
    uint64_t cost = REPORT_ITEM + text + OVERHEAD;
    struct qcbmi_kept_finding *kept;
    char *at;

    /* Behind one that was left out a smaller one is, too: what is kept has no gaps. */
    if (report->left_out || cost > QCBM_CHECK_REPORT_MAX - report->bytes) {
        report->left_out++;
        return 0;
    }
    if (qcbmi_grow_array(&report->list, &report->capacity, report->n, sizeof(*kept), err) < 0)
        return QCBM_E_NOMEM;
    at = qcbmi_alloc_array(text, 1, err);
    if (!at)
        return QCBM_E_NOMEM;
    kept = &report->list[report->n++];
    *kept = (struct qcbmi_kept_finding){ *f, at };
    kept->finding.message = put_text(&at, f->message);
    kept->finding.table = put_text(&at, f->table);
    kept->finding.hint = put_text(&at, f->hint);
    report->bytes += cost;
    return 0;
}

/* The caller's function is called as well, as if nothing were kept. */
struct collector {
    struct qcbm_check_report *report;
    qcbm_check_fn *fn;
    qcbm_check_kind_fn *kind;
    void *opaque;
    int failed; /* what keeping returned, with why */
    struct qcbm_error why;
};

static int collect(void *opaque, const struct qcbm_check_finding *f)
{
    struct collector *c = opaque;

    c->failed = qcbmi_check_report_keep(c->report, f, &c->why);
    if (c->failed)
        return 1;
    return c->fn ? c->fn(c->opaque, f) : 0;
}

static int pass_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    struct collector *c = opaque;

    return c->kind(c->opaque, kind);
}

static int check_into(struct qcbm_check_report *report, struct qcbm_image *img,
                      const struct qcbm_check_options *options, struct qcbm_check_result *result, size_t size,
                      struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct collector c = { .report = report };
    int ret = qcbmi_take_options(&o, sizeof(o), options, err);

    if (ret < 0)
        return ret;
    c.fn = o.finding;
    c.kind = o.kind;
    c.opaque = o.opaque;
    o.struct_size = sizeof(o);
    o.finding = collect;
    o.kind = o.kind ? pass_kind : NULL;
    o.opaque = &c;
    ret = qcbm_check(img, &o, result, size, err);
    if (c.failed && err)
        *err = c.why;
    return c.failed ? c.failed : ret;
}

int qcbm_check_open(struct qcbm_image *img, const struct qcbm_check_options *options, struct qcbm_check_report **out,
                    struct qcbm_check_result *result, size_t size, struct qcbm_error *err)
{
    struct qcbm_check_report *report;
    int ret;

    *out = NULL;
    report = qcbmi_alloc_array(1, sizeof(*report), err);
    if (!report)
        return QCBM_E_NOMEM;
    ret = check_into(report, img, options, result, size, err);
    if (ret < 0) {
        qcbm_check_close(report);
        return ret;
    }
    *out = report;
    return 0;
}

int qcbm_check_fill(const struct qcbm_check_report *report, uint64_t from, struct qcbm_check_finding *array,
                    size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err)
{
    struct qcbmi_page page;
    int ret = qcbmi_page_begin(&page, array, elem_size, n, from, err);

    for (uint64_t i = from; ret == 0 && page.got < n && i < report->n; i++)
        qcbmi_page_put(&page, &report->list[i].finding, sizeof(report->list[i].finding), i + 1);
    *got = page.got;
    *next = page.next;
    return ret;
}

uint64_t qcbm_check_left_out(const struct qcbm_check_report *report)
{
    return report->left_out;
}

void qcbm_check_close(struct qcbm_check_report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->n; i++)
        free(report->list[i].text);
    free(report->list);
    free(report);
}
