/* xml_text.c - XML, written piece by piece
 * SPDX-License-Identifier: MIT */
#include "checkpoint/xml_text.h"

#include <string.h>

#include "checkpoint/xml.h"

static void give(struct qcbmi_xml_text *t, const char *bytes, size_t n)
{
    if (t->ret == 0 && n > 0 && t->fn(t->opaque, bytes, n) != 0)
        t->ret = qcbmi_fail_stopped(t->err);
}

/* Blanks of an attribute become spaces when it is read, if they are not written as numbers. */
static const char *other_words(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}

static void put_text(struct qcbmi_xml_text *t, const char *text)
{
    const char *from = text;
    size_t n = strlen(text);

    if (!qcbmi_xml_is_text(text, n)) {
        char shown[256];

        t->ret = qcbmi_fail(t->err, QCBM_E_ARG, QCBM_NO_OFFSET, "'%s' cannot be written in XML",
                            qcbmi_printable(shown, sizeof shown, text, n));
        return;
    }
    for (const char *p = text;; p++) {
        const char *other = *p ? other_words(*p) : NULL;

        if (*p && !other)
            continue;
        give(t, from, (size_t)(p - from));
        if (!*p)
            return;
        give(t, other, strlen(other));
        from = p + 1;
    }
}

void qcbmi_xml_put(struct qcbmi_xml_text *t, const char *before, const char *text, const char *after)
{
    if (before)
        give(t, before, strlen(before));
    if (t->ret == 0 && text)
        put_text(t, text);
    if (after)
        give(t, after, strlen(after));
}
