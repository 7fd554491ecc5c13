/* picture_font.h - letters for pictures, 5 dots wide and 7 high
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_FONT_H
#define QCBM_TOOL_PICTURE_FONT_H

#include <stdint.h>

enum { FONT_WIDTH = 5, FONT_HEIGHT = 7, FONT_PITCH = 6, FONT_LINE = 11 };

/* The rows of @c from the top down; bit 4 is the dot on the left. Of what is not printable ASCII, those of "?". */
const uint8_t *picture_font_glyph(char c);

#endif
