/* uri.c - names that are URIs of servers
 * SPDX-License-Identifier: MIT
 */
#include "uri.h"

#include <stddef.h>
#include <string.h>

bool uri_is_server(const char *name)
{
    static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://" };

    for (size_t i = 0; name && i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(name, schemes[i], strlen(schemes[i])) == 0)
            return true;
    }
    return false;
}
