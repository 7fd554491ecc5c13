/* probe.c - the format of an image, by its first bytes, as QEMU guesses it
 * SPDX-License-Identifier: MIT */
#include "format/probe.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "format/q2_limits.h"

#define MAGIC(format, offset, text)                                                                                    \
    {                                                                                                                  \
        format, offset, sizeof(text) - 1, text                                                                         \
    }

/* What one glance tells. No two of them can be true of one file. */
static const struct magic {
    const char *format;
    size_t offset, len;
    const char *bytes;
} magics[] = {
    MAGIC("qed", 0, "QED\0"),
    MAGIC("vmdk", 0, "KDMV"),
    MAGIC("vmdk", 0, "COWD"),
    MAGIC("vpc", 0, "conectix"),
    MAGIC("vhdx", 0, "vhdxfile"),
    MAGIC("luks", 0, "LUKS\xba\xbe\0\1"),
    MAGIC("parallels", 0, "WithoutFreeSpace\2\0\0\0"),
    MAGIC("parallels", 0, "WithouFreSpacExt\2\0\0\0"),
    MAGIC("vdi", 64, "\x7f\x10\xda\xbe"),
};

static bool is_there(const uint8_t *head, const struct magic *m)
{
    return memcmp(head + m->offset, m->bytes, m->len) == 0;
}

/* A growing "Redolog" of Bochs, of version 1 or 2. */
static bool is_bochs(const uint8_t *head)
{
    static const struct magic parts[] = {
        MAGIC("bochs", 0, "Bochs Virtual HD Image\0"),
        MAGIC("bochs", 32, "Redolog\0"),
        MAGIC("bochs", 48, "Growing\0"),
    };
    static const uint8_t versions[2][4] = { { 0, 0, 1, 0 }, { 0, 0, 2, 0 } };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (!is_there(head, &parts[i]))
            return false;
    return memcmp(head + 64, versions[0], 4) == 0 || memcmp(head + 64, versions[1], 4) == 0;
}

/* The text that describes a VMDK of several files: comments, lines of blanks, then its version, 1 to 3. */
static bool is_vmdk_text(const uint8_t *head)
{
    const char *at = (const char *)head, *end = at + QCBMI_PROBE_BYTES, *line_end;

    for (; (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line_end + 1) {
        size_t len = (size_t)(line_end - at);

        if (len > 0 && at[len - 1] == '\r')
            len--;
        if (len == 9 && memcmp(at, "version=", 8) == 0)
            return at[8] >= '1' && at[8] <= '3';
        if (*at != '#' && (*at != ' ' || strspn(at, " ") != len))
            return false;
    }
    return false;
}

static bool is_dmg(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".dmg") == 0;
}

const char *qcbmi_probe(const uint8_t head[QCBMI_PROBE_BYTES], const char *name)
{
    static const char cloop[] = "#!/bin/sh\n#V2.0 Format\n";

    if (be32_load(head) == Q2_MAGIC && be32_load(head + 4) >= 1)
        return be32_load(head + 4) == 1 ? "qcow" : "qcow2";
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if (is_there(head, &magics[i]))
            return magics[i].format;
    if (is_vmdk_text(head))
        return "vmdk";
    if (is_bochs(head))
        return "bochs";
    if (memcmp(head, cloop, sizeof(cloop) - 1) == 0)
        return "cloop";
    return is_dmg(name) ? "dmg" : "raw";
}
