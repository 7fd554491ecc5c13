/* stale.h - stale bitmaps that a change gives up: their names, kept for when they are gone
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_STALE_H
#define QCBM_TOOL_STALE_H

#include "json_write.h"
#include "qcbm.h"

struct stale_names {
    char **at;
    uint32_t n;
    bool any; /* there is an extension; without names its directory cannot be read */
};

/* Take them from @img, before the change. False without memory. */
bool stale_names_take(struct stale_names *names, const struct qcbm_image *img);
void stale_names_clear(struct stale_names *names); /* fine on a zeroed struct */

/* A warning of what the change that @done tells of gave up, or would (@dry_run). */
void stale_names_tell(const struct stale_names *names, const struct qcbm_plan_summary *done, bool dry_run);
/* The member "stale-bitmaps-dropped", if there is anything to tell. */
void stale_names_json(const struct stale_names *names, const struct qcbm_plan_summary *done, struct json_writer *w);

#endif
