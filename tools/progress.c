/* progress.c - how far a long job is, on stderr, as qemu-img -p shows it
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "progress.h"

int progress_show(void *opaque, uint64_t done, uint64_t total)
{
    struct progress *p = opaque;
    double percent;

    if (!p->wanted) /* asked of each of very many extents */
        return 0;
    percent = total ? 100.0 * (double)done / (double)total : 100;
    if ((int)percent >= p->shown) {
        p->shown = (int)percent + 1;
        fprintf(stderr, "    (%.2f/100%%)\r", percent);
        fflush(stderr);
    }
    return 0;
}

struct qcbm_progress progress_of(struct progress *p)
{
    return (struct qcbm_progress){ p->wanted ? progress_show : NULL, p };
}

void progress_end(struct progress *p, bool finished)
{
    if (p->wanted && finished && p->shown <= 100)
        progress_show(p, 1, 1);
    if (p->shown > 0)
        fputc('\n', stderr);
    p->shown = 0;
}
