/* cmd_check.h - what the files of qcbm check share: what was found so far
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_CHECK_H
#define QCBM_TOOL_CMD_CHECK_H

#include <stdio.h>

#include "common_args.h"
#include "plan_out.h"
#include "qcbm.h"

enum { CHECK_MAX_KINDS = 128 };

struct check_listed {
    struct qcbm_check_finding f; /* its strings but the message are static */
    char *message;
};

struct check_kind { /* its strings but the cure are static */
    const struct qcbm_problem *problem;
    uint64_t count;
    char *cure;
    enum qcbm_repair_level repair;
};

struct check_args {
    struct common_args common;
    const char *repair, *cache, *lost;
    uint64_t memory;
    bool explain, strict, untrusted, all;
};

/* What qcbm check -r has done, or would do. */
struct check_repairs {
    bool dry_run;
    struct qcbm_repair_result result;
    struct check_repair { /* its strings are copies, or NULL */
        struct qcbm_repair_row row;
        char *code, *bitmap, *done, *kept, *lost;
    } * rows;
    size_t n_rows, capacity;
    struct plan plan; /* the steps of a dry run */
};

struct check_report {
    const char *path;
    bool all;                       /* every finding is told, however many there are of one kind in one table */
    bool json;                      /* findings are kept for it */
    bool later;                     /* findings are kept, to be told later */
    enum qcbm_repair_level repairs; /* findings that this level mends are told as QEMU tells them when it repairs */
    const struct check_repairs *repaired; /* NULL: nothing was to be repaired */
    struct qcbm_check_result result;
    struct check_listed *listed; /* for JSON */
    size_t n_listed, listed_capacity;
    uint64_t left_out;
    struct qcbm_check_summary *sums; /* their strings are static */
    size_t n_sums, sums_capacity;
    uint64_t seen[CHECK_MAX_KINDS];           /* findings of each problem so far */
    struct check_kind kinds[CHECK_MAX_KINDS]; /* that occurred */
    size_t n_kinds;
    char *again; /* lines on refcounts that QEMU tells once more when it repairs them, one after the other */
    size_t again_len, again_capacity;
    bool others;       /* there are corruptions besides COPIED flags, or leaks that stay */
    bool stays_silent; /* QEMU gives up here: findings on stderr, but no totals */
    bool strict;       /* one of them is a reason for the exit code of --strict */
};

/* Callbacks of qcbm_check(): a finding goes to stderr as it comes. @report is a struct check_report. */
int check_report_finding(void *report, const struct qcbm_check_finding *f);
int check_report_kind(void *report, const struct qcbm_check_kind *kind);
int check_report_summary(void *report, const struct qcbm_check_summary *summary);
void check_report_clear(struct check_report *r);

/* Refcounts are being repaired: tell those lines again, with another first word, that begin with @word. */
void check_report_again(struct check_report *r, const char *word);

/* Tell which tables had more findings than were told. */
void check_report_tell_sums(const struct check_report *r);

/* Tell findings that were kept for later. */
void check_report_tell(struct check_report *r);

/* cmd_check_repair.c: qcbm check -r. Repair @img, of which @r then has what is left; prints the error. */
enum qcbm_repair_level check_repair_level(const char *name); /* QCBM_REPAIR_NONE: there is no such */
bool check_repair(struct qcbm_image *img, const struct check_args *args, struct check_report *first,
                  struct check_report *r, struct check_repairs *repairs);
void check_repairs_clear(struct check_repairs *repairs);

/* cmd_check_out.c: totals on stdout, and the consequences on stderr. */
void check_print_text(const struct qcbm_check_result *r);
void check_print_repairs(const struct check_repairs *repairs); /* in front of them */
void check_print_json(const struct check_report *r);
void check_explain(const struct check_report *r, const char *path);
/* Of an image behind a server: how to make COPY, which is what cures then are for. Nothing for a file. */
void check_print_copying(FILE *out, const char *path);
/* A hint with the name of the image where FILE stands, as cures have it. */
void check_hint(const char *text, const char *path);

#endif
