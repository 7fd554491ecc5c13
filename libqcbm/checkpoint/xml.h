/* xml.h - a small, strict reader of XML: a whole document as a tree
 * SPDX-License-Identifier: MIT
 *
 * For libvirt's files, of which a few elements matter. Taken are elements, attributes, text, CDATA, comments,
 * processing instructions, the five entities and numbers of characters, in UTF-8. Refused are document types, so that
 * there is no entity that grows, other encodings, names that are not ASCII, and whatever is not well-formed. Memory:
 * about 12 bytes for each byte of the text, of which there are QCBMI_XML_MAX at most. */
#ifndef QCBMI_XML_H
#define QCBMI_XML_H

#include "base/error.h"

#define QCBMI_XML_MAX (UINT64_C(1) << 20) /* libvirt reads no longer file of a checkpoint */
#define QCBMI_XML_MAX_DEPTH 128u
#define QCBMI_XML_MAX_ATTRS 64u /* of one element */

struct qcbmi_xml_attr {
    const char *name, *value;
};

struct qcbmi_xml_node {
    const char *name;
    const char *text;                   /* of an element without elements in it; else "" */
    uint32_t parent, first_child, next; /* 0: none, as the root is nobody's child */
    uint32_t last_child;
    uint32_t first_attr, n_attrs;
    uint64_t offset; /* of its "<" */
};

struct qcbmi_xml {
    struct qcbmi_xml_node *nodes; /* 0 is the root */
    size_t n_nodes, nodes_capacity;
    struct qcbmi_xml_attr *attrs;
    size_t n_attrs, attrs_capacity;
    char *strings;
};

/* Read @len bytes. Free @doc on failure too. QCBM_E_CORRUPT: not well-formed, @err->offset says where;
 * QCBM_E_UNSUPPORTED: it may be XML, of a kind that is refused; QCBM_E_LIMIT; QCBM_E_NOMEM. */
int qcbmi_xml_read(struct qcbmi_xml *doc, const void *bytes, size_t len, struct qcbm_error *err);
void qcbmi_xml_free(struct qcbmi_xml *doc); /* fine on a zeroed struct */

/* The one child of @parent called @name, or *@out NULL. QCBM_E_CORRUPT: there are two. */
int qcbmi_xml_child(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *parent, const char *name,
                    const struct qcbmi_xml_node **out, struct qcbm_error *err);
/* The first child of @parent called @name, or the next one behind @after (NULL: the first); NULL at the end. */
const struct qcbmi_xml_node *qcbmi_xml_next(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *parent,
                                            const struct qcbmi_xml_node *after, const char *name);
/* NULL: it has none. */
const char *qcbmi_xml_attr(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *node, const char *name);
/* Are these characters that XML may have, in UTF-8? */
bool qcbmi_xml_is_text(const char *text, size_t len);

#endif
