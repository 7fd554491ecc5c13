/* manners.c - how much of the machine a run takes: --nice, --max-read
 * SPDX-License-Identifier: MIT
 */
#include "manners.h"

#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmd.h"
#include "every_args.h"

/* Threads that are started later have it, too. Where the scheduler of a disk knows no classes it is without effect, and
 * so it is where the kernel refuses it. */
static void be_idle(void)
{
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

void manners_begin(void)
{
    if (every_args.nice)
        be_idle();
    if (every_args.nice || every_args.max_read)
        qcbm_set_manners(every_args.nice ? QCBM_MANNERS_NO_CACHE : 0, every_args.max_read);
}
