/* header_ext.h - a new extension in the header, behind those that are there, in a plan
 * SPDX-License-Identifier: MIT
 *
 * Each write stays within one 512-byte sector, and after each stage the header is valid and complete: a torn write of
 * the whole first cluster can drop the backing file in silence (docs/crash-safety.md). Foreign extensions are not
 * moved. */
#ifndef QCBMI_HEADER_EXT_H
#define QCBMI_HEADER_EXT_H

#include "write/plan.h"

#define QCBMI_EXT_HEADER 8u /* type and length of an extension */

/* What there is: of an image, or of a header as a plan has it so far. */
struct qcbmi_header_now {
    const struct q2_header *h;
    const struct q2_extensions *exts;
};

/* An extension to be put in; @len is a multiple of 8, and at most QCBMI_EXT_MOST. Strings are literals. */
enum { QCBMI_EXT_MOST = 24 };
struct qcbmi_ext_new {
    uint32_t type, len;
    const uint8_t *payload;
    const char *name;   /* "bitmaps extension", in messages */
    const char *what;   /* of the write that makes it visible, */
    const char *unseen; /* and of those before that */
};

bool qcbmi_in_one_sector(uint64_t off, uint64_t len);

/* QCBM_E_NOSPACE. */
int qcbmi_ext_no_room(const struct qcbmi_ext_new *ext, uint64_t off, const char *why, struct qcbm_error *err);

/* Could QEMU still rewrite the first cluster with one more extension of @len bytes in it? */
bool qcbmi_ext_fits_when_packed(const struct qcbmi_header_now *now, uint64_t len);

struct qcbmi_ext_place {
    uint64_t at;  /* where the END extension stands now */
    uint64_t pad; /* bytes of padding extension in front, so that the payload lies in one sector */
    uint64_t end; /* behind the new END */
    bool move_name;
    uint64_t name_to; /* where the backing file name goes */
};
/* Where the extension itself is to stand. */
uint64_t qcbmi_ext_at(const struct qcbmi_ext_place *p);

/* A place behind the last extension; QCBM_E_NOSPACE. */
int qcbmi_ext_find_place(const struct qcbmi_header_now *now, const struct qcbmi_ext_new *ext, struct qcbmi_ext_place *p,
                         struct qcbm_error *err);

/* Where all of it, a short name of the backing file included, lies in the first sector, one write of that does
 * everything, and of what is patched in the header before; else *@done is false. */
int qcbmi_ext_append_at_once(const struct qcbmi_header_now *now, struct qcbmi_plan *plan,
                             const struct qcbmi_ext_new *ext, bool *done, struct qcbm_error *err);

/* Put the extension where END stands, with an END behind it. All but the last step is written: [@p->at, + *@head_len)
 * of the plan's header is what makes it visible. What nobody sees in the old header goes to stage @unseen. */
int qcbmi_ext_append(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, size_t unseen,
                     const struct qcbmi_ext_place *p, const struct qcbmi_ext_new *ext, uint64_t *head_len,
                     struct qcbm_error *err);

/* Padding of @len bytes, which an earlier removal left, in which an extension can stand again; or NULL. */
const struct q2_extension *qcbmi_ext_find_padding(const struct q2_extensions *exts, uint32_t len);

#endif
