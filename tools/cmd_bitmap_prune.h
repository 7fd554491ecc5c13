/* cmd_bitmap_prune.h - the bitmaps of one image whose names match: found, chosen, deleted, told
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_BITMAP_PRUNE_H
#define QCBM_TOOL_CMD_BITMAP_PRUNE_H

#include "cmd_bitmap.h"
#include "json_write.h"
#include "plan_out.h"

struct match {
    char *name;
    bool usable, goes;
};

struct prune {
    const struct common_args *common; /* path of the image, undo file, dry run */
    const char *pattern;
    uint64_t keep;
    struct qcbm_image *img; /* closed with the rest */
    struct match *matches;  /* by name */
    size_t n;
    struct plan plan;
};

/* Add the bitmaps of @img that match; none of them goes yet. Returns the exit code. */
int prune_find(struct prune *p, struct qcbm_image *img);
/* All go but the last p->keep that can be used. */
void prune_choose(struct prune *p);
/* The first of that name, or NULL. */
const struct match *prune_named(const struct prune *p, const char *name);
bool prune_any(const struct prune *p); /* does one go? */
/* Delete from p->img those that go, or plan it. Returns the exit code. */
int prune_remove(struct prune *p);

void prune_print(const struct prune *p);
void prune_write_json(const struct prune *p, struct json_writer *w);
void prune_clear(struct prune *p);

#endif
