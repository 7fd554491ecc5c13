/* cmd_check.h - what the files of qcbm check share: what was found so far
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_CHECK_H
#define QCBM_TOOL_CMD_CHECK_H

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

struct check_report {
    const char *path;
    bool json; /* findings are kept for it */
    struct qcbm_check_result result;
    struct check_listed *listed; /* for JSON */
    size_t n_listed, listed_capacity;
    uint64_t left_out;
    uint64_t seen[CHECK_MAX_KINDS];           /* findings of each problem so far */
    struct check_kind kinds[CHECK_MAX_KINDS]; /* that occurred */
    size_t n_kinds;
    bool stays_silent; /* QEMU gives up here: findings on stderr, but no totals */
    bool strict;       /* one of them is a reason for the exit code of --strict */
};

/* Callbacks of qcbm_check(): a finding goes to stderr as it comes. @report is a struct check_report. */
int check_report_finding(void *report, const struct qcbm_check_finding *f);
int check_report_kind(void *report, const struct qcbm_check_kind *kind);
void check_report_clear(struct check_report *r);

/* cmd_check_out.c: totals on stdout, and the consequences on stderr. */
void check_print_text(const struct qcbm_check_result *r);
void check_print_json(const struct check_report *r);
void check_explain(const struct check_report *r);

#endif
