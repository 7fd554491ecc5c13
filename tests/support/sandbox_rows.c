/* sandbox_rows.c - what tests ask of the sandbox: its list of calls, a line for each row; "abort" ends it as abort()
 * does inside
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"
#include "sandbox_calls.h"

static void print(const struct sandbox_call *calls)
{
    for (; calls->names[0]; calls++) {
        for (const char *const *name = calls->names; *name; name++)
            printf("%s%s", name == calls->names ? "" : " ", *name);
        putchar('\n');
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "abort") == 0) {
        sandbox_enter(NULL, 0, false);
        abort();
    }
    print(sandbox_calls);
    if (SANDBOX_SANITIZED)
        print(sandbox_sanitizer_calls);
    return 0;
}
