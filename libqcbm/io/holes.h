/* holes.h - where the holes of a file are: asked for once, in file order, and remembered
 * SPDX-License-Identifier: MIT
 *
 * A file system may have to walk over all that lies between an offset and the next hole. Who asks at offsets in the
 * order of the guest has it walk over the same bytes again and again; asked in the order of the file, it walks once. */
#ifndef QCBMI_HOLES_H
#define QCBMI_HOLES_H

#include "io/io.h"

struct qcbmi_holes {
    struct qcbmi_io *io;
    uint64_t *ends; /* of the extents from offset 0 on; data and holes take turns */
    size_t n, capacity;
    bool first_is_data;
    size_t asked;                 /* answers that were remembered */
    size_t hint;                  /* the extent that was found last */
    bool is_data;                 /* beyond what can be remembered, the answer that came last: */
    uint64_t last_from, last_end; /* [last_from, last_end) */
    bool sparse;                  /* qcbmi_holes_read() has met zeros */
};

void qcbmi_holes_init(struct qcbmi_holes *h, struct qcbmi_io *io);
void qcbmi_holes_free(struct qcbmi_holes *h); /* fine on a zeroed struct */

/* As qcbmi_io_extent(). */
int qcbmi_holes_at(struct qcbmi_holes *h, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err);

/* Up to where there is a hole from @off on, as far as is remembered; @off if nothing is. Asks nobody. */
uint64_t qcbmi_holes_known(struct qcbmi_holes *h, uint64_t off);

/* Is [@off, @off + @len), as far as it lies in the file, one hole? For who asks in the order of the file anyway:
 * nothing but the last answer is remembered, and nothing that lies before @off is asked for. */
bool qcbmi_holes_cover(struct qcbmi_holes *h, uint64_t off, uint64_t len);

/* Read; what lies past the end of the file is zeros. *@zeros (may be NULL): all of it is, and maybe nothing was read,
 * as it lies in a hole. */
int qcbmi_holes_read(struct qcbmi_holes *h, uint64_t off, void *buf, uint64_t len, bool *zeros, const char *what,
                     struct qcbm_error *err);

#endif
