/* terminal.h - what standard output can show: colours, half blocks, and how wide it is
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_TERMINAL_H
#define QCBM_TOOL_TERMINAL_H

#include <stdint.h>

enum terminal_colours { TERMINAL_LETTERS, TERMINAL_256, TERMINAL_24BIT };

struct terminal {
    enum terminal_colours colours;
    uint32_t columns;
};

/* By COLORTERM, TERM, NO_COLOR, the locale and the terminal itself: before the process is shut in. Colours are drawn in
 * half blocks, so a terminal without UTF-8 gets letters, as a file or pipe does. */
struct terminal terminal_look(void);

/* The number among the 256 that comes nearest to 0xRRGGBB. */
unsigned terminal_nearest_256(uint32_t colour);

#endif
