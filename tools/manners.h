/* manners.h - how much of the machine a run takes: --nice, --max-read
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_MANNERS_H
#define QCBM_TOOL_MANNERS_H

/* From here on as every_args has it. */
void manners_begin(void);

#endif
