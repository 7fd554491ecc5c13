/* xml.c - a small, strict reader of XML: a whole document as a tree
 * SPDX-License-Identifier: MIT
 *
 * One pass over the text; strings are decoded into one piece of memory as long as the text, which is enough: what
 * stands for a character is never shorter than the character, and behind each string there is a byte of markup. */
#include "checkpoint/xml.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

struct reader {
    struct qcbmi_xml *doc;
    const char *start, *p, *end;
    char *to;         /* where the next string goes */
    uint32_t current; /* the element that is open */
    uint32_t depth;   /* of elements that are open */
    struct qcbm_error *err;
};

static int bad(const struct reader *r, const char *at, const char *what)
{
    return qcbmi_fail(r->err, QCBM_E_CORRUPT, (uint64_t)(at - r->start), "byte %zu of the XML: %s",
                      (size_t)(at - r->start), what);
}

static int refused(const struct reader *r, const char *what)
{
    return qcbmi_fail(r->err, QCBM_E_UNSUPPORTED, (uint64_t)(r->p - r->start), "byte %zu of the XML: %s",
                      (size_t)(r->p - r->start), what);
}

static bool begins(const struct reader *r, const char *with)
{
    size_t n = strlen(with);

    return (size_t)(r->end - r->p) >= n && memcmp(r->p, with, n) == 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Returns whether there was any. */
static bool skip_space(struct reader *r)
{
    const char *from = r->p;

    while (r->p < r->end && is_space(*r->p))
        r->p++;
    return r->p > from;
}

static bool skip_past(struct reader *r, const char *mark)
{
    const char *at = memmem(r->p, (size_t)(r->end - r->p), mark, strlen(mark));

    if (at)
        r->p = at + strlen(mark);
    return at != NULL;
}

/* ---- characters ---- */

/* Production "Char" of XML 1.0. */
static bool is_char(uint32_t c)
{
    return c == 0x9 || c == 0xa || c == 0xd || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) ||
           (c >= 0x10000 && c <= 0x10ffff);
}

/* Length of the character at @p as UTF-8, the shortest form of one that XML may have; 0: it is none. */
static size_t char_length(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    uint32_t c = n > 1 ? p[0] & (0x7fu >> n) : p[0];

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c >= least[n] && is_char(c) ? n : 0;
}

/* The first byte that does not begin such a character, or @end. */
static const char *text_ends(const char *p, const char *end)
{
    size_t n;

    while (p < end && (n = char_length((const uint8_t *)p, (size_t)(end - p))) > 0)
        p += n;
    return p;
}

bool qcbmi_xml_is_text(const char *text, size_t len)
{
    return text_ends(text, text + len) == text + len;
}

static void put_char(struct reader *r, uint32_t c)
{
    uint8_t *to = (uint8_t *)r->to;

    if (c < 0x80) {
        *to++ = (uint8_t)c;
    } else if (c < 0x800) {
        *to++ = (uint8_t)(0xc0 | c >> 6);
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        if (c < 0x10000) {
            *to++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *to++ = (uint8_t)(0xf0 | c >> 18);
            *to++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *to++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    r->to = (char *)to;
}

/* Behind "&#". */
static int take_number(struct reader *r, const char *at)
{
    bool hex = r->p < r->end && *r->p == 'x';
    uint32_t c = 0;
    const char *first;

    r->p += hex;
    for (first = r->p; r->p < r->end && *r->p != ';'; r->p++) {
        char d = *r->p;
        uint32_t digit = d >= '0' && d <= '9'          ? (uint32_t)(d - '0')
                         : hex && d >= 'a' && d <= 'f' ? (uint32_t)(d - 'a') + 10
                         : hex && d >= 'A' && d <= 'F' ? (uint32_t)(d - 'A') + 10
                                                       : 16;

        if (digit == 16 || c > 0x10ffff)
            return bad(r, at, "a character is written as no number");
        c = c * (hex ? 16 : 10) + digit;
    }
    if (r->p == r->end || r->p == first || !is_char(c))
        return bad(r, at, "the number of no character");
    r->p++;
    put_char(r, c);
    return 0;
}

static int take_reference(struct reader *r)
{
    static const struct {
        const char *text;
        char stands_for;
    } known[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&amp;", '&' }, { "&quot;", '"' }, { "&apos;", '\'' } };
    const char *at = r->p;

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (begins(r, known[i].text)) {
            *r->to++ = known[i].stands_for;
            r->p += strlen(known[i].text);
            return 0;
        }
    }
    if (!begins(r, "&#"))
        return bad(r, at, "an entity that XML does not define by itself");
    r->p += 2;
    return take_number(r, at);
}

/* A byte as it is, but for ends of lines, which are "\n" however they are written. */
static void take_byte(struct reader *r)
{
    char c = *r->p++;

    if (c == '\r') {
        r->p += r->p < r->end && *r->p == '\n';
        c = '\n';
    }
    *r->to++ = c;
}

/* ---- markup ---- */

static bool is_name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!first && ((c >= '0' && c <= '9') || c == '-' || c == '.'));
}

/* A name, as a string. */
static int take_name(struct reader *r, const char **out)
{
    const char *from = r->p;

    while (r->p < r->end && is_name_char(*r->p, r->p == from))
        r->p++;
    if (r->p == from)
        return bad(r, from, "a name is missing here");
    *out = r->to;
    memcpy(r->to, from, (size_t)(r->p - from));
    r->to += r->p - from;
    *r->to++ = '\0'; /* in place of what ends the name */
    return 0;
}

static int take_value(struct reader *r, const char **out)
{
    char quote = r->p < r->end ? *r->p : '\0';
    int ret = 0;

    if (quote != '"' && quote != '\'')
        return bad(r, r->p, "the value of an attribute is in quotes");
    r->p++;
    *out = r->to;
    while (ret == 0 && r->p < r->end && *r->p != quote) {
        if (*r->p == '<')
            return bad(r, r->p, "'<' in the value of an attribute");
        if (*r->p == '&') {
            ret = take_reference(r);
            continue;
        }
        take_byte(r);
        if (is_space(r->to[-1]))
            r->to[-1] = ' ';
    }
    if (ret == 0 && r->p == r->end)
        return bad(r, r->p, "the value of an attribute has no end");
    if (ret == 0) {
        r->p++;
        *r->to++ = '\0';
    }
    return ret;
}

static int take_attr(struct reader *r, struct qcbmi_xml_node *node)
{
    struct qcbmi_xml *doc = r->doc;
    struct qcbmi_xml_attr attr;
    const char *at = r->p;
    int ret = take_name(r, &attr.name);

    if (ret == 0) {
        skip_space(r);
        if (r->p == r->end || *r->p != '=')
            return bad(r, r->p, "an attribute has no '='");
        r->p++;
        skip_space(r);
        ret = take_value(r, &attr.value);
    }
    if (ret == 0 && qcbmi_xml_attr(doc, node, attr.name))
        ret = bad(r, at, "an element has the same attribute twice");
    if (ret == 0 && node->n_attrs == QCBMI_XML_MAX_ATTRS)
        ret = qcbmi_fail(r->err, QCBM_E_LIMIT, (uint64_t)(at - r->start), "an element has more than %u attributes",
                         QCBMI_XML_MAX_ATTRS);
    if (ret == 0)
        ret = qcbmi_grow_array(&doc->attrs, &doc->attrs_capacity, doc->n_attrs, sizeof(attr), r->err);
    if (ret == 0) {
        doc->attrs[doc->n_attrs++] = attr;
        node->n_attrs++;
    }
    return ret;
}

/* The element of @node is complete, and becomes the last child of the one that is open. */
static int add_node(struct reader *r, struct qcbmi_xml_node *node)
{
    struct qcbmi_xml *doc = r->doc;
    uint32_t index = (uint32_t)doc->n_nodes;
    int ret = qcbmi_grow_array(&doc->nodes, &doc->nodes_capacity, doc->n_nodes, sizeof(*node), r->err);

    if (ret < 0)
        return ret;
    if (index > 0) {
        struct qcbmi_xml_node *parent = &doc->nodes[r->current];

        if (parent->last_child)
            doc->nodes[parent->last_child].next = index;
        else
            parent->first_child = index;
        parent->last_child = index;
        parent->text = "";
        node->parent = r->current;
    }
    doc->nodes[doc->n_nodes++] = *node;
    return 0;
}

static int begin_element(struct reader *r)
{
    struct qcbmi_xml_node node = { .offset = (uint64_t)(r->p - r->start), .first_attr = (uint32_t)r->doc->n_attrs };
    bool empty;
    int ret;

    if (r->depth == 0 && r->doc->n_nodes > 0)
        return bad(r, r->p, "a second element beside the outermost one");
    if (r->depth == QCBMI_XML_MAX_DEPTH)
        return qcbmi_fail(r->err, QCBM_E_LIMIT, node.offset, "elements lie more than %u deep", QCBMI_XML_MAX_DEPTH);
    r->p++;
    ret = take_name(r, &node.name);
    while (ret == 0 && skip_space(r) && r->p < r->end && *r->p != '/' && *r->p != '>')
        ret = take_attr(r, &node);
    if (ret < 0)
        return ret;
    empty = begins(r, "/>");
    if (!empty && !begins(r, ">"))
        return bad(r, r->p, "a tag does not end where it should");
    r->p += empty ? 2 : 1;
    node.text = empty ? "" : r->to;
    ret = add_node(r, &node);
    if (ret == 0 && !empty) {
        r->current = (uint32_t)r->doc->n_nodes - 1;
        r->depth++;
    }
    return ret;
}

static int end_element(struct reader *r)
{
    const struct qcbmi_xml_node *node;
    const char *at = r->p, *name;
    int ret;

    if (r->depth == 0)
        return bad(r, at, "an end of an element that did not begin");
    node = &r->doc->nodes[r->current];
    *r->to++ = '\0'; /* of its text */
    r->p += 2;
    ret = take_name(r, &name);
    if (ret < 0)
        return ret;
    if (strcmp(name, node->name) != 0)
        return bad(r, at, "the end of another element than the one that is open");
    skip_space(r);
    if (!begins(r, ">"))
        return bad(r, r->p, "a tag does not end where it should");
    r->p++;
    r->current = node->parent;
    r->depth--;
    return 0;
}

static int take_comment(struct reader *r)
{
    const char *at = r->p;

    r->p += 4;
    if (!skip_past(r, "--"))
        return bad(r, at, "a comment has no end");
    if (r->p == r->end || *r->p != '>')
        return bad(r, at, "'--' in a comment");
    r->p++;
    return 0;
}

static int take_cdata(struct reader *r)
{
    const char *at = r->p, *end;

    if (r->depth == 0)
        return bad(r, at, "text outside of the outermost element");
    r->p += strlen("<![CDATA[");
    end = memmem(r->p, (size_t)(r->end - r->p), "]]>", 3);
    if (!end)
        return bad(r, at, "a CDATA section has no end");
    while (r->p < end)
        take_byte(r);
    r->p = end + 3;
    return 0;
}

static bool begins_with(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    return p < end && (size_t)(end - p) >= n && strncasecmp(p, word, n) == 0;
}

/* Also "<?xml ...?>", which is nothing else where it is first. */
static int take_instruction(struct reader *r)
{
    const char *at = r->p, *name, *encoding;
    int ret;

    r->p += 2;
    ret = take_name(r, &name);
    if (ret == 0 && !skip_past(r, "?>"))
        return bad(r, at, "a processing instruction has no end");
    if (ret < 0 || strcasecmp(name, "xml") != 0)
        return ret;
    if (at != r->start)
        return bad(r, at, "an XML declaration that is not at the beginning");
    encoding = memmem(at, (size_t)(r->p - at), "encoding", strlen("encoding"));
    if (!encoding)
        return 0;
    for (encoding += strlen("encoding"); encoding < r->p && (is_space(*encoding) || *encoding == '='); encoding++)
        ;
    return begins_with(encoding + 1, r->p, "utf-8") || begins_with(encoding + 1, r->p, "us-ascii")
               ? 0
               : refused(r, "an encoding other than UTF-8");
}

static int take_text(struct reader *r)
{
    if (r->depth == 0) {
        if (!skip_space(r))
            return bad(r, r->p, "text outside of the outermost element");
        return 0;
    }
    if (*r->p == '&')
        return take_reference(r);
    if (begins(r, "]]>"))
        return bad(r, r->p, "']]>' in text");
    take_byte(r);
    return 0;
}

static int take_piece(struct reader *r)
{
    if (*r->p != '<')
        return take_text(r);
    if (begins(r, "</"))
        return end_element(r);
    if (begins(r, "<!--"))
        return take_comment(r);
    if (begins(r, "<![CDATA["))
        return take_cdata(r);
    if (begins(r, "<!"))
        return refused(r, "a document type is not taken");
    return begins(r, "<?") ? take_instruction(r) : begin_element(r);
}

int qcbmi_xml_read(struct qcbmi_xml *doc, const void *bytes, size_t len, struct qcbm_error *err)
{
    struct reader r = { .doc = doc, .start = bytes, .p = bytes, .err = err };
    int ret;

    *doc = (struct qcbmi_xml){ 0 };
    if (len > QCBMI_XML_MAX)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "more than %" PRIu64 " bytes of XML", QCBMI_XML_MAX);
    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        r.start = r.p += 3;
        len -= 3;
    }
    r.end = r.p + len;
    doc->strings = r.to = qcbmi_alloc_array((uint64_t)len + 1, 1, err);
    if (!r.to)
        return QCBM_E_NOMEM;
    r.p = text_ends(r.start, r.end);
    ret = r.p == r.end ? 0 : bad(&r, r.p, "no character that XML may have, in UTF-8");
    r.p = r.start;
    while (ret == 0 && r.p < r.end)
        ret = take_piece(&r);
    if (ret == 0 && r.depth > 0)
        ret = bad(&r, r.p, "the text ends within an element");
    if (ret == 0 && doc->n_nodes == 0)
        ret = bad(&r, r.p, "there is no element");
    return ret;
}

void qcbmi_xml_free(struct qcbmi_xml *doc)
{
    free(doc->nodes);
    free(doc->attrs);
    free(doc->strings);
}

/* ---- what is in it ---- */

const struct qcbmi_xml_node *qcbmi_xml_next(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *parent,
                                            const struct qcbmi_xml_node *after, const char *name)
{
    for (uint32_t i = after ? after->next : parent->first_child; i; i = doc->nodes[i].next)
        if (strcmp(doc->nodes[i].name, name) == 0)
            return &doc->nodes[i];
    return NULL;
}

int qcbmi_xml_child(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *parent, const char *name,
                    const struct qcbmi_xml_node **out, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *second;

    *out = qcbmi_xml_next(doc, parent, NULL, name);
    second = *out ? qcbmi_xml_next(doc, parent, *out, name) : NULL;
    return second ? qcbmi_fail(err, QCBM_E_CORRUPT, second->offset, "<%s> has two of <%s>", parent->name, name) : 0;
}

const char *qcbmi_xml_attr(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *node, const char *name)
{
    for (uint32_t i = node->first_attr; i < node->first_attr + node->n_attrs; i++)
        if (strcmp(doc->attrs[i].name, name) == 0)
            return doc->attrs[i].value;
    return NULL;
}
