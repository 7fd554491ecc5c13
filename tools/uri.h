/* uri.h - names that are URIs of servers
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_URI_H
#define QCBM_TOOL_URI_H

#include <stdbool.h>

/* "nbd://...", "nbds://...", "nbd+unix://...", "nbds+unix://..."? False for NULL. */
bool uri_is_server(const char *name);

#endif
