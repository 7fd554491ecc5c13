/* input.c - a file that a command reads beside images
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "input.h"

/* All of @file; memory grows with what comes. NULL with errno; EFBIG if it is more than the limit. */
static char *read_all(FILE *file, size_t *len)
{
    size_t room = 1 << 16;
    char *bytes = malloc(room);

    for (*len = 0; bytes; room *= 2) {
        char *more;

        *len += fread(bytes + *len, 1, room - *len, file);
        if (*len < room && !ferror(file))
            return bytes;
        if (*len == room && room == INPUT_MAX_HELD)
            errno = EFBIG;
        more = ferror(file) || room == INPUT_MAX_HELD ? NULL : realloc(bytes, 2 * room);
        if (!more)
            free(bytes);
        bytes = more;
    }
    return NULL;
}

static int hold(struct input *input, const char *name)
{
    FILE *from = input->file;
    size_t len;

    input->held = read_all(from, &len);
    input->file = input->held ? fmemopen(input->held, len, "rb") : NULL;
    if (!input->file && errno == EFBIG)
        cmd_error("'%s' is no file, and more than %d MiB: save it to a file, and name that", name,
                  INPUT_MAX_HELD >> 20);
    else if (!input->file)
        cmd_error("Could not read '%s': %s", name, strerror(errno));
    if (from != stdin)
        fclose(from);
    return input->file ? EXIT_DONE : EXIT_FAILED;
}

int input_open(struct input *input, const char *name)
{
    struct stat st;

    input->file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rbe");
    if (!input->file || fstat(fileno(input->file), &st) < 0)
        return cmd_error("Could not open '%s': %s", name, strerror(errno));
    return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? EXIT_DONE : hold(input, name);
}

void input_close(struct input *input)
{
    if (input->file && input->file != stdin)
        fclose(input->file);
    free(input->held);
    memset(input, 0, sizeof *input);
}
