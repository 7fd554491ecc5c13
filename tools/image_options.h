/* image_options.h - options of QEMU's block layer that change nothing for qcbm, and the values that they can have
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_IMAGE_OPTIONS_H
#define QCBM_TOOL_IMAGE_OPTIONS_H

#include <stdbool.h>

enum image_option { IMAGE_OPTION_UNKNOWN, IMAGE_OPTION_FINE, IMAGE_OPTION_WRONG };

/* WRONG: QEMU knows @key and not this value of it, which is told on stderr; @typed is the name for that message. */
enum image_option image_option_check(const char *typed, const char *key, const char *value);

/* One of the values that switch something on. */
bool image_option_is_on(const char *value);

#endif
