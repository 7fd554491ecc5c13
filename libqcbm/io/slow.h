/* slow.h - do reads wait for a disk?
 * SPDX-License-Identifier: MIT
 *
 * If so, what is read next is asked for ahead of time: some tens of reads in flight are as fast as any number of
 * threads. */
#ifndef QCBMI_SLOW_H
#define QCBMI_SLOW_H

#include "qcbm-io.h"

#define QCBMI_SLOW_READS 3u   /* so many of them say that it is a disk */
#define QCBMI_READS_AHEAD 64u /* that are asked for */

/* Nanoseconds of a clock, to be given back when the read has ended. */
uint64_t qcbmi_read_begins(void);
bool qcbmi_read_was_slow(uint64_t begun, uint64_t bytes);

#endif
