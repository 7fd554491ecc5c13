/* xml_text.h - XML, written piece by piece
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_XML_TEXT_H
#define QCBMI_XML_TEXT_H

#include "base/error.h"

#define QCBMI_XML_MAX_DISKS 1024u /* of a domain or a checkpoint */

struct qcbmi_xml_text {
    qcbm_write_fn *fn;
    void *opaque;
    struct qcbm_error *err;
    int ret; /* of all so far: after a failure nothing is given any more */
};

/* @before and @after as they are, @text between them with what XML gives a meaning put in other words. Either may be
 * NULL. QCBM_E_ARG: @text has characters that XML cannot have, or is no UTF-8. */
void qcbmi_xml_put(struct qcbmi_xml_text *t, const char *before, const char *text, const char *after);

#endif
