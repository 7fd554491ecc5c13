/* header_tag.h - the tag of an image, an extension of the header: put in, changed, taken out, in a plan
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_HEADER_TAG_H
#define QCBMI_HEADER_TAG_H

#include "write/plan.h"

/* Add to @plan, behind all that it does to the header, what makes @tag the one tag of the image; NULL: it has none
 * then. Stages of its own; none, if it is so already. Cut between them, the image has the old tag or the new one, or,
 * where the old one could not be changed in its place, two that differ, which are none. Returns 0, QCBM_E_NOSPACE (no
 * room in the first cluster), QCBM_E_UNSUPPORTED, QCBM_E_NOMEM. */
int qcbmi_tag_plan(struct qcbmi_plan *plan, const uint8_t *tag, struct qcbm_error *err);

#endif
