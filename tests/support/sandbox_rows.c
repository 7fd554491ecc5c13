/* sandbox_rows.c - what tests ask of the sandbox: its list of calls, a line for each row; "abort" ends it as abort() does inside
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"
#include "sandbox_calls.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "abort") == 0) {
        sandbox_enter(NULL, 0, false);
        abort();
    }
    for (const struct sandbox_call *c = sandbox_calls; c->names[0]; c++) {
        for (const char *const *name = c->names; *name; name++)
            printf("%s%s", name == c->names ? "" : " ", *name);
        putchar('\n');
    }
    return 0;
}
